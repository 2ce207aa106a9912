"""A pool of processes that compare answers with math-verify, which may hang or crash on any text.

Each worker (`qstar_core.grading.math_worker`) has a few pairs at a time and answers them in their
order, so the one that a dead worker was at is known: the first without an answer. It gets the
blame, the others go to another worker. A worker that the kernel ended for its CPU time has hung;
one that died otherwise, or ran out of memory, may have been unlucky, so its pair has a second try
in a new one. The clock on the wall, `STALL_S`, is only for a worker that neither works nor ends.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any, NamedTuple

from qstar_core.errors import UserError
from qstar_core.grading.math_worker import CPU_S, ERROR, TIMEOUT

MAX_WORKERS = 8
DEPTH = 8  # pairs that a worker has at once, at most
TRIES = 2
STALL_S = 300.0
MATH_VERIFY = "0.9.0"
COMMAND = [sys.executable, "-m", "qstar_core.grading.math_worker"]
OUT_OF_MEMORY = "MemoryError"
BLOCK = 65536


class Finding(NamedTuple):
    """What a comparison found: one of the five findings of the worker, and a word on it."""

    kind: str
    detail: str = ""


class _Worker:
    """One process with the numbers of the pairs that it has not answered, oldest first."""

    def __init__(self, cpu_s: float, errors: IO[bytes]) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, str(cpu_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
        )
        self.ready = False
        self.pending: deque[int] = deque()
        self.heard = time.monotonic()
        self._rest = b""

    def send(self, number: int, pair: tuple[str, str]) -> None:
        assert self.process.stdin is not None
        if not self.pending:
            self.heard = time.monotonic()
        self.pending.append(number)
        self.process.stdin.write((json.dumps([number, *pair]) + "\n").encode())

    def read(self) -> list[list[Any]] | None:
        """The messages that are there; None at the end of its output."""
        assert self.process.stdout is not None
        block = os.read(self.process.stdout.fileno(), BLOCK)
        if not block:
            return None
        self.heard = time.monotonic()
        *lines, self._rest = (self._rest + block).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self) -> int:
        """Ends it, whatever it is doing; returns its exit status."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return self.process.wait()


class Pool:
    """Workers that are started when they are needed and kept until `close`.

    Args:
        size: workers at most; None is one for each core that this process may use.
        cpu_s: CPU time that the comparison of a pair may take, in seconds.
    """

    def __init__(self, size: int | None = None, cpu_s: float = CPU_S) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.size = size or min(MAX_WORKERS, cores or 1)
        self._cpu_s = cpu_s
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the pool
        self._lock = threading.Lock()

    def compare(self, pairs: Sequence[tuple[str, str]]) -> list[Finding]:
        """Compares right answers with given ones, in parallel.

        Args:
            pairs: (right answer, given answer), as LaTeX.

        Returns:
            What was found of each, in their order.

        Raises:
            UserError: the workers do not start, or have another math-verify.
        """
        with self._lock:
            try:
                return _Job(self, pairs).run()
            except BaseException:  # whatever it is, the workers are in the middle of something
                self._end_workers()
                raise

    def close(self) -> None:
        """Ends all workers; the pool may not be used afterwards."""
        self._end_workers()
        self._selector.close()
        self._errors.close()

    def pids(self) -> list[int]:
        """The workers' process ids."""
        return [worker.process.pid for worker in self._workers]

    def start(self) -> _Worker:
        """Starts one more worker."""
        worker = _Worker(self._cpu_s, self._errors)
        self._workers.append(worker)
        self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
        return worker

    def remove(self, worker: _Worker) -> int:
        """Ends a worker; returns its exit status."""
        self._workers.remove(worker)
        self._selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
        ended = worker.process.poll()
        status = worker.end()
        return status if ended is None else ended

    def workers(self) -> list[_Worker]:
        """The workers that there are."""
        return list(self._workers)

    def spoken(self, timeout_s: float) -> list[_Worker]:
        """The workers that have said something, or ended; waits until one has."""
        return [key.data for key, _ in self._selector.select(timeout_s)]

    def complaint(self) -> str:
        """The last line that a worker wrote to its standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "no error message"

    def _end_workers(self) -> None:
        for worker in self.workers():
            self.remove(worker)


class _Job:
    """The pairs of one call, and how far they are."""

    def __init__(self, pool: Pool, pairs: Sequence[tuple[str, str]]) -> None:
        self.pool, self.pairs = pool, pairs
        self.found: dict[int, Finding] = {}
        self.waiting = deque(range(len(pairs)))
        self.tries: Counter[int] = Counter()
        self.failed_starts = 0

    def run(self) -> list[Finding]:
        while len(self.found) < len(self.pairs):
            self._start_workers()
            self._feed()
            for worker in self.pool.spoken(timeout_s=1.0):
                self._listen(worker)
            for worker in self.pool.workers():
                if time.monotonic() - worker.heard <= STALL_S:
                    continue
                if not worker.ready:
                    worker.process.kill()  # `_ended` hears of it
                elif worker.pending:
                    self._blame(worker, Finding(TIMEOUT, f"no answer within {STALL_S:g} s"))
        return [self.found[number] for number in range(len(self.pairs))]

    def _start_workers(self) -> None:
        wanted = min(self.pool.size, -(-len(self.waiting) // DEPTH))
        idle = sum(not worker.pending for worker in self.pool.workers())
        while len(self.pool.workers()) < self.pool.size and idle < wanted:
            self.pool.start()
            idle += 1

    def _feed(self) -> None:
        ready = [worker for worker in self.pool.workers() if worker.ready]
        share = len(self.waiting) // (2 * max(1, len(ready)))
        for depth in range(min(DEPTH, 1 + share)):  # the least busy first, the last ones singly
            for worker in ready:
                if self.waiting and len(worker.pending) <= depth:
                    number = self.waiting.popleft()
                    with suppress(BrokenPipeError):  # it has died; `_listen` hears of it
                        worker.send(number, self.pairs[number])

    def _listen(self, worker: _Worker) -> None:
        messages = worker.read()
        if messages is None:
            self._ended(worker)
            return
        for number, kind, detail in messages:
            if not worker.ready:
                _check_version(kind)
                worker.ready = True
                continue
            worker.pending.popleft()
            if kind == ERROR and detail.startswith(OUT_OF_MEMORY):
                worker.pending.appendleft(number)
                self._blame(worker, Finding(ERROR, detail))
                return
            self.found[number] = Finding(kind, detail)

    def _ended(self, worker: _Worker) -> None:
        if not worker.ready:
            self.failed_starts += 1
            self.pool.remove(worker)
            if self.failed_starts > TRIES:
                raise UserError(
                    f"the math grader does not start: {self.pool.complaint()}",
                    next_step=f"pip install math-verify=={MATH_VERIFY}",
                )
            return
        status = worker.process.wait()
        if status == -signal.SIGXCPU:
            self.tries[worker.pending[0] if worker.pending else -1] = TRIES
            self._blame(worker, Finding(TIMEOUT, "it had to be killed"))
        else:
            self._blame(worker, Finding(ERROR, f"the grader's process ended with {status}"))

    def _blame(self, worker: _Worker, finding: Finding) -> None:
        """Ends a worker; its oldest pair has the finding, or another try, the others wait again."""
        self.pool.remove(worker)
        if not worker.pending:
            return
        culprit = worker.pending.popleft()
        self.waiting.extendleft(reversed(worker.pending))
        self.tries[culprit] += 1
        if self.tries[culprit] >= TRIES:
            self.found[culprit] = finding
        else:
            self.waiting.append(culprit)


def _check_version(there: str) -> None:
    if there != MATH_VERIFY:
        raise UserError(
            f"the math grader needs math-verify {MATH_VERIFY}, {there} is installed: another "
            "version may grade otherwise",
            next_step=f"pip install math-verify=={MATH_VERIFY}",
        )


_shared: dict[int, Pool] = {}


def shared() -> Pool:
    """The pool of this process; it is closed when the process ends.

    A process that was forked from this one makes its own.
    """
    pid = os.getpid()
    if pid not in _shared:
        _shared.clear()
        _shared[pid] = Pool()
        atexit.register(_close, pid)
    return _shared[pid]


def _close(pid: int) -> None:
    if pid == os.getpid() and pid in _shared:
        _shared.pop(pid).close()
