"""The judge's process, as its user sees it: one per process of ours, started when first needed."""

from __future__ import annotations

import atexit
import json
import marshal
import os
import queue
import resource
import select
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from qstar_core.grading import sandbox
from qstar_core.grading.inside_judge import LENGTH_BYTES
from qstar_core.grading.separate import MODULES

CPU_S = 5.0
"""Processor time for one verdict; it takes some microseconds."""
MEMORY_BYTES = 2 * 1024**3
ANSWER_S = 300.0
"""On the clock, after which the server itself is taken for hung: the machine may be busy."""


class JudgeFailed(Exception):
    """The judge ended or hung: there is no verdict, which says nothing of the program."""


class Judge:
    """A server of `qstar_core.grading.inside_judge`; threads take turns.

    It never runs generated code, so one may serve all programs. It ends with its standard input,
    so with the process that uses it, however that ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._mode = ""

    def ask(self, request: Mapping[str, Any]) -> dict[str, str]:
        """The verdict on one answer; see `inside_judge.judge`.

        Raises:
            JudgeFailed: it came to none; the next request starts a new server.
            UserError: there is no sandbox on this machine.
        """
        content = marshal.dumps(dict(request))
        with self._lock:
            try:
                return self._exchange(self._started(), content)
            except (OSError, ValueError) as error:
                self._end()
                raise JudgeFailed(f"the judge failed: {error}") from error

    def close(self) -> None:
        """Ends the server."""
        with self._lock:
            self._end()

    def forget(self) -> None:
        """Leaves the server to the process that this one was forked from."""
        self._lock, self._process = threading.Lock(), None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._mode == sandbox.current():
            return self._process
        self._end()
        limits = [
            (resource.RLIMIT_AS, MEMORY_BYTES),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ]
        setting = {"limits": limits, "cpu_s": CPU_S, "modules": list(MODULES)}
        self._process, self._mode = _kept(setting), sandbox.current()
        return self._process

    @staticmethod
    def _exchange(process: subprocess.Popen[bytes], content: bytes) -> dict[str, str]:
        if process.stdin is None or process.stdout is None:
            raise ValueError("no pipes")
        process.stdin.write(len(content).to_bytes(LENGTH_BYTES, "little") + content)
        process.stdin.flush()
        line, until = b"", time.monotonic() + ANSWER_S
        while not line.endswith(b"\n"):
            left = max(0.0, until - time.monotonic())
            if not select.select([process.stdout], [], [], left)[0]:
                raise ValueError(f"no verdict in {ANSWER_S:.0f} s")
            block = process.stdout.read1()  # type: ignore[attr-defined]
            if not block:
                raise ValueError("its process ended")
            line += block
        verdict: dict[str, str] = json.loads(line)
        return verdict

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        sandbox.kill(process)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):  # what was not sent is lost with the process
                    stream.close()


def _kept(setting: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """A server, started in a thread of its own: a sandbox dies with the thread that started it."""
    started: queue.SimpleQueue[subprocess.Popen[bytes] | Exception] = queue.SimpleQueue()

    def keep() -> None:
        try:
            process = sandbox.start("inside_judge", setting, lasting=True)
        except Exception as error:  # raised again where the server was asked for
            started.put(error)
            return
        started.put(process)
        with suppress(ChildProcessError):  # it was waited for; until then its number is not free
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    threading.Thread(target=keep, daemon=True).start()
    found = started.get()
    if isinstance(found, Exception):
        raise found
    return found


JUDGE = Judge()
atexit.register(JUDGE.close)
os.register_at_fork(after_in_child=JUDGE.forget)
