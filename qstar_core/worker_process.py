"""One shard worker: its process, the JSON lines between it and us, the clock that kills it.

A worker that reports no progress for too long is killed; one that died is described by its exit
code and the last lines of its standard error.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any

from qstar_core.errors import KINDS, ModelReplaced, UserError, WorkerDied, WorkerError

log = logging.getLogger("qstar_core.workers")

Event = dict[str, Any]
OnProgress = Callable[[Event], None]

STDERR_LINES = 200  # kept per worker
STDERR_SHOWN = 15  # of these, in an error
EXIT_TIMEOUT_S = 5.0  # between the end of the output and the exit


class Worker:
    """One worker process; `serve` is called by one thread at a time."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        try:
            self._process = subprocess.Popen(
                argv,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                bufsize=1,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise UserError(
                f"runtime.python: cannot start {argv[0]}: {error.strerror}",
                next_step="name an interpreter that has qstar_core, or leave runtime.python out",
            ) from error
        self._python = argv[0]
        self._ready = False
        self.usable = True
        self._tail: deque[str] = deque(maxlen=STDERR_LINES)
        self._drain = threading.Thread(target=self._read_stderr, daemon=True)
        self._drain.start()

    def serve(
        self, job: dict[str, Any], stall_timeout_s: float, on_progress: OnProgress | None
    ) -> dict[str, Any]:
        """Sends one job and relays its events until its result."""

        def relay(event: Event) -> None:
            watch.restart()
            if on_progress is not None:
                on_progress(event)

        self.usable = False  # until the result is here: an exception leaves the protocol half-way
        with StallWatch(stall_timeout_s, self._process.kill) as watch:
            try:
                return self._exchange(job, relay)
            except EOFError as error:
                if watch.expired:
                    what = f"no progress for {stall_timeout_s:g} s, worker killed"
                    raise WorkerDied(what) from error
                raise self._died() from error

    def _exchange(self, job: dict[str, Any], on_progress: OnProgress) -> dict[str, Any]:
        stdin, stdout = _pipe(self._process.stdin), _pipe(self._process.stdout)
        try:
            stdin.write(json.dumps(job, ensure_ascii=False) + "\n")
            stdin.flush()
        except (OSError, ValueError) as error:
            raise EOFError from error
        while True:
            event = self._next_event(stdout)
            if event["event"] == "ready":
                self._ready = True
            elif event.get("id") != job["id"]:
                log.debug("event of another job: %s", event)
            elif event["event"] == "progress":
                on_progress(event)
            elif event["event"] == "result":
                self.usable = True
                result: dict[str, Any] = event["result"]
                return result
            elif event["event"] == "error":
                # after any other error the engine in it may be broken for good
                self.usable = event.get("kind") in ("user", "spent")
                raise _error(event)

    def _next_event(self, stdout: IO[str]) -> Event:
        while True:
            try:
                line = stdout.readline()
            except (OSError, ValueError) as error:
                raise EOFError from error
            if not line:
                raise EOFError
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                event = None
            if isinstance(event, dict) and "event" in event:
                return event
            log.debug("worker %d: %s", self._process.pid, line.rstrip())

    def _read_stderr(self) -> None:
        for line in _pipe(self._process.stderr):
            self._tail.append(line.rstrip())
            log.debug("worker %d: %s", self._process.pid, line.rstrip())

    def _died(self) -> Exception:
        try:
            code = self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._drain.join(1.0)
        last = list(self._tail)[-STDERR_SHOWN:]
        if not self._ready and any("No module named" in line for line in last):
            return UserError(
                f"runtime.python: {self._python} cannot import the worker: {last[-1]}",
                next_step=f"{self._python} -m pip install .",
            )
        return WorkerDied("\n".join([f"the worker ended with {_code_name(code)}", *last]))

    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def close_input(self) -> None:
        """Tells the worker to end."""
        try:
            _pipe(self._process.stdin).close()
        except (OSError, ValueError):
            log.debug("worker %d: its input was closed already", self._process.pid)

    def end(self, timeout_s: float) -> None:
        """Closes the input, waits, kills, and reaps the process."""
        self.close_input()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class StallWatch:
    """Calls ``expire`` once nobody has called `restart` for some seconds."""

    def __init__(self, timeout_s: float, expire: Callable[[], None]) -> None:
        self._timeout_s = timeout_s
        self._expire = expire
        self._end = time.monotonic() + timeout_s
        self._over = threading.Event()
        self.expired = False

    def __enter__(self) -> StallWatch:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()

    def restart(self) -> None:
        """Something moved: the clock starts again."""
        self._end = time.monotonic() + self._timeout_s

    def _watch(self) -> None:
        while not self._over.wait(max(0.0, self._end - time.monotonic())):
            if time.monotonic() >= self._end:
                self.expired = True
                self._expire()
                return


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("the worker was started without pipes")
    return stream


def _error(event: Event) -> Exception:
    kind = KINDS.get(event.get("kind", ""))
    if kind is not None:
        return kind(
            str(event["what"]),
            safe=str(event.get("safe", "")),
            next_step=str(event.get("next_step", "")),
        )
    if event.get("kind") == "replaced":
        return ModelReplaced(str(event["what"]))
    log.debug("%s", event.get("traceback", ""))
    return WorkerError("\n".join(filter(None, [str(event["what"]), event.get("traceback", "")])))


def _code_name(code: int) -> str:
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
