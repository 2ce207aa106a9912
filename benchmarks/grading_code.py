"""Programs graded per second, beside the same programs run without any sandbox.

Usage: python benchmarks/grading_code.py [--file mbpp.jsonl] [--programs 300] [--cores 2]

``file`` has rows of MBPP with right programs (``code``). They are graded as evaluation does, all at
once by `qstar_core.domains.mbpp.grade_many`; beside it, with as many threads as there are cores, by
``subprocess.run([python, "-c", program])``, the program with its tests behind it: no limit, no
sandbox, and a verdict that the program itself gives. ``venv`` is the interpreter that runs qstar,
with its site-packages; ``base`` the one that the sandbox takes, started in the same way. Both
ways are run by turns, three times each; the figures are those of the fastest. All processes are
held to so many cores. The last column is how many times as fast as ``venv`` a way is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from qstar_core.domains import mbpp, mbpp_problems  # noqa: E402
from qstar_core.grading import Outcome, sandbox_command  # noqa: E402
from qstar_core.mdp import Problem  # noqa: E402

TURNS = 3
TIMEOUT_S = 60
SLOW = (123,)  # takes seconds of its own


def graded(pairs: list[tuple[Problem, list[str]]], rows: list[dict[str, Any]], cores: int) -> int:
    """How many the sandbox finds right."""
    return sum(grade.outcome is Outcome.CORRECT for grade in mbpp.grade_many(pairs))


def bare(command: list[str]) -> Callable[..., int]:
    """How many end with exit code 0 when an interpreter simply runs them."""

    def run(pairs: list[tuple[Problem, list[str]]], rows: list[dict[str, Any]], cores: int) -> int:
        def one(row: dict[str, Any]) -> int:
            text = "\n".join([row.get("test_setup_code", ""), row["code"], *row["test_list"]])
            done = subprocess.run(
                [*command, "-c", text.replace("\r\n", "\n")],
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
            return int(done.returncode == 0)

        with ThreadPoolExecutor(cores) as threads:
            return sum(threads.map(one, rows))

    return run


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    beside = Path(os.environ.get("QSTAR_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--file", type=Path, default=beside / "mbpp" / "mbpp.jsonl")
    parser.add_argument("--programs", type=int, default=300)
    parser.add_argument("--cores", type=int, default=2)
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    rows, pairs = [], []
    for line in args.file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["task_id"] in SLOW or len(rows) == args.programs:
            continue
        problem = mbpp_problems.from_row({**row, "task_id": None}, "test")
        if problem is not None:
            rows.append(row)
            pairs.append((problem, [row["code"]]))
    ways: dict[str, Callable[..., int]] = {
        "venv": bare([sys.executable]),
        "base": bare([sandbox_command.interpreter(), *sandbox_command.FLAGS]),
        "sandbox": graded,
    }
    graded(pairs[:1], rows[:1], 1)  # the judge is started
    best = dict.fromkeys(ways, float("inf"))
    right = dict.fromkeys(ways, 0)
    for _ in range(TURNS):
        for name, way in ways.items():
            began = time.perf_counter()
            right[name] = way(pairs, rows, args.cores)
            best[name] = min(best[name], time.perf_counter() - began)
    print(f"{len(rows)} programs, {args.cores} cores")
    print(f"{'':10}{'right':>8}{'seconds':>10}{'programs/s':>12}{'ratio':>8}")
    for name, seconds in best.items():
        rate, ratio = len(rows) / seconds, best["venv"] / seconds
        print(f"{name:10}{right[name]:>8}{seconds:>10.2f}{rate:>12.1f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
