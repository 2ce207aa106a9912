r"""A worker of the pool of math graders: ``python -m qstar_core.grading.math_worker``.

It compares pairs of answers with math-verify, which turns LaTeX into sympy expressions. Both take
any time and any memory for some texts, and their own time limit is ``signal.alarm``: it works in
the main thread only, and not where the interpreter is inside one operation, such as ``10**10**10``.
So here the limits are those of the process, set anew for each pair when its work begins:

1. after some seconds of its own CPU time (the argument, else `CPU_S`) a signal ends the
   comparison, and the worker goes on;
2. `GRACE_S` later the kernel ends the worker, also in the middle of one operation;
3. memory above `MEMORY_BYTES` more than at the start is refused.

CPU time, not the clock: a pair has the same outcome on a busy machine.

Standard input has lines ``[number, gold, answer]``; standard output one line ``[number, finding,
detail]`` for each, in their order. The worker ends at the end of its standard input, so it dies
with its parent, whatever it is doing.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import queue
import resource
import signal
import sys
import threading
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import IO, Any

CPU_S = 3.0
GRACE_S = 2
MEMORY_BYTES = 1024**3
TICK_S = 0.2  # the signal comes again: what it raises may be lost in a destructor
EQUAL, DIFFERENT, UNREAD, TIMEOUT, ERROR = "equal", "different", "unread", "timeout", "error"
DETAIL_CHARACTERS = 200


class OutOfTime(BaseException):
    """No `Exception`: sympy and math-verify catch those."""


def main() -> None:
    """Serves pairs until standard input ends."""
    cpu_s = float(sys.argv[1]) if len(sys.argv) > 1 else CPU_S
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    asked: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin, asked), daemon=True).start()
    logging.disable(logging.CRITICAL)
    _send(out, ["ready", _load(), ""])
    _cap_memory()
    signal.signal(signal.SIGPROF, _out_of_time)
    while True:
        number, gold, answer = json.loads(asked.get())
        _send(out, [number, *_limited(gold, answer, cpu_s)])


def _read(source: IO[str], asked: queue.Queue[str]) -> None:
    for line in source:
        asked.put(line)
    os._exit(0)


def _send(out: IO[str], message: list[Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _load() -> str:
    """Loads math-verify, as the pool uses it; its version."""
    from importlib.metadata import version

    from qstar_core.grading import math_faster

    math_faster.apply()  # loads math-verify, before memory is limited and time is counted
    gc.freeze()  # sympy's objects stay: no collection has to look through them
    return version("math-verify")


def _cap_memory() -> None:
    if not Path("/proc/self/statm").is_file():  # not Linux: only time is limited
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _out_of_time(signum: int, frame: FrameType | None) -> None:
    raise OutOfTime


def _limited(gold: str, answer: str, cpu_s: float) -> tuple[str, str]:
    """`compare` within the limits."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = int(used.ru_utime + used.ru_stime + cpu_s) + GRACE_S + 1
    highest = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (hard, highest))
    try:
        signal.setitimer(signal.ITIMER_PROF, cpu_s, TICK_S)
        try:
            found = compare(gold, answer)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except OutOfTime:
        return TIMEOUT, f"more than {cpu_s:g} s of CPU time"
    except Exception as error:  # sympy may raise anything
        return ERROR, f"{type(error).__name__}: {error}"[:DETAIL_CHARACTERS]
    return found


def compare(gold: str, answer: str) -> tuple[str, str]:
    """Whether an answer equals the right one, as math-verify sees it.

    Returns:
        The finding, and a word on it: `UNREAD` where one of them could not be read.

    Raises:
        Exception: the comparison failed.
    """
    from math_verify import verify

    wanted = _parse(gold)
    if not wanted:
        return UNREAD, "math-verify cannot read the right answer"
    given = _parse(answer)
    if not given:
        return UNREAD, "math-verify cannot read the answer"
    equal = verify(wanted, given, timeout_seconds=None, raise_on_error=True)
    return (EQUAL if equal else DIFFERENT), ""


@lru_cache(maxsize=256)
def _parse(answer: str) -> list[Any]:
    """The expressions that math-verify reads in an answer; none where it cannot."""
    from math_verify import parse

    found = parse(f"${answer}$", parsing_timeout=None, fallback_mode="no_fallback")
    return list(found)


if __name__ == "__main__":
    main()
