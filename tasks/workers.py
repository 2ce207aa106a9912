"""A pool of shard workers: ``python -m qstar_core.worker`` processes that speak JSON lines.

A worker is started when it is first needed, keeps its models for all the shards it is given, and
is replaced after it crashed or was killed, or where a shard asks for another model than the one
whose engine it cannot let go. It dies with this process, however this process ends:
the end of its standard input tells it. Workers stay in the process group, so that whoever stops
the group stops them too.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from qstar_core.errors import ModelReplaced, WorkerError
from qstar_core.worker_process import OnProgress, Worker

log = logging.getLogger("qstar_core.workers")

WORKER = ("-m", "qstar_core.worker")
CLOSE_TIMEOUT_S = 2.0


class PoolClosed(Exception):
    """The pool was closed, or its worker interrupted from the keyboard; no retry can mend that."""


class WorkerPool:
    """At most ``count`` worker processes behind one blocking `run`; safe to call from threads.

    Args:
        count: workers at most.
        python: their interpreter; None is this one.
        threads: OpenMP and MKL threads per worker; None shares out the cores.
        env: further environment variables of the workers.
        command: arguments of the interpreter.
    """

    def __init__(
        self,
        count: int,
        python: str | None = None,
        threads: int | None = None,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = WORKER,
    ) -> None:
        self.count = count
        self._argv = [python or sys.executable, *command]
        share = str(threads or max(1, (os.cpu_count() or 1) // count))
        self._env = {
            **os.environ,
            "OMP_NUM_THREADS": share,
            "MKL_NUM_THREADS": share,
            **(env or {}),
        }
        self._changed = threading.Condition()
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._starting = 0
        self._next_id = 0
        self._closed = False

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(
        self, spec: dict[str, Any], stall_timeout_s: float, on_progress: OnProgress | None = None
    ) -> dict[str, Any]:
        """Hands a shard to a free worker and waits for its result.

        Args:
            spec: the shard specification.
            stall_timeout_s: seconds without progress after which the worker is killed.
            on_progress: called in this thread with every progress event.

        Returns:
            The shard's receipt.

        Raises:
            UserError: the worker says that the input or the surroundings are to be mended.
            WorkerError: the worker crashed, was killed, or the shard failed in it.
            PoolClosed: the pool was closed meanwhile.
        """
        for _ in range(self.count):  # every worker may still hold the engine of the model before
            try:
                return self._serve(spec, stall_timeout_s, on_progress)
            except ModelReplaced as replaced:
                log.debug("%s: by another worker", replaced)
        return self._serve(spec, stall_timeout_s, on_progress)

    def _serve(
        self, spec: dict[str, Any], stall_timeout_s: float, on_progress: OnProgress | None
    ) -> dict[str, Any]:
        worker, number = self._take()
        try:
            return worker.serve({"id": number, "spec": spec}, stall_timeout_s, on_progress)
        except WorkerError as error:
            if self._closed or worker.exit_code() == -signal.SIGINT:
                raise PoolClosed("interrupted") from error
            raise
        finally:
            self._give_back(worker)

    def close(self) -> None:
        """Ends all workers: closes their standard input, waits shortly, kills the rest."""
        with self._changed:
            self._closed = True
            workers = [*self._idle, *self._busy]
            self._changed.notify_all()
        for worker in workers:
            worker.close_input()
        for worker in workers:
            worker.end(CLOSE_TIMEOUT_S)

    def _take(self) -> tuple[Worker, int]:
        with self._changed:
            while not self._closed and not self._idle and self._full():
                self._changed.wait()
            if self._closed:
                raise PoolClosed("the pool is closed")
            self._next_id += 1
            number = self._next_id
            while self._idle:
                worker = self._idle.pop()
                if worker.exit_code() is None:
                    self._busy.add(worker)
                    return worker, number
                worker.end(0.0)  # died while it had nothing to do
            self._starting += 1
        started: Worker | None = None
        try:
            started = Worker(self._argv, self._env)
        finally:
            with self._changed:
                self._starting -= 1
                if started is not None:
                    self._busy.add(started)
                self._changed.notify()
        if self._closed:
            started.end(0.0)
        return started, number

    def _full(self) -> bool:
        return len(self._busy) + self._starting >= self.count

    def _give_back(self, worker: Worker) -> None:
        usable = worker.usable and worker.exit_code() is None
        if not usable:
            worker.end(0.0)
        with self._changed:
            self._busy.discard(worker)
            if usable and not self._closed:
                self._idle.append(worker)
            self._changed.notify()
