"""A real worker process whose comparison does what a bad text makes sympy do."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from qstar_core.grading.math_worker import DIFFERENT, EQUAL, ERROR, TIMEOUT, UNREAD, compare

SCRIPT = """
from qstar_core.grading import math_worker

def compare(gold, answer):
    exec(answer)
    return "equal", ""

math_worker.compare = compare
math_worker.main()
"""
STUBBORN = """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "0.3"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    assert json.loads(process.stdout.readline())[0] == "ready"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def ask(worker: subprocess.Popen[str], number: int, answer: str) -> list[Any]:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(json.dumps([number, "1", answer]) + "\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    return list(json.loads(line)) if line else []


def test_time_memory_and_errors_end_a_comparison_and_not_the_worker(
    worker: subprocess.Popen[str],
) -> None:
    assert ask(worker, 0, "pass") == [0, EQUAL, ""]
    assert ask(worker, 1, "while True: pass")[:2] == [1, TIMEOUT]
    number, kind, detail = ask(worker, 2, "bytearray(8 * 1024**3)")
    assert (number, kind) == (2, ERROR) and detail.startswith("MemoryError")
    assert ask(worker, 3, "1 / 0") == [3, ERROR, "ZeroDivisionError: division by zero"]
    assert ask(worker, 4, "print('not a line of ours')") == [4, EQUAL, ""]
    swallows = "try:\n  while True: pass\nexcept Exception: pass"
    assert ask(worker, 5, swallows)[:2] == [5, TIMEOUT]
    assert ask(worker, 6, "pass") == [6, EQUAL, ""]


@pytest.mark.parametrize("endless", [STUBBORN, "sum(range(10**13))"])
def test_what_does_not_come_back_is_ended_by_the_kernel(
    worker: subprocess.Popen[str], endless: str
) -> None:
    assert ask(worker, 0, endless) == []
    assert worker.wait() == -signal.SIGXCPU


def test_comparing() -> None:
    assert compare("x + 1", "1 + x") == (EQUAL, "")
    assert compare("x", "y") == (DIFFERENT, "")
    assert compare("((", "2")[0] == UNREAD
    assert compare("2", "((")[0] == UNREAD
