"""How many answers are graded per second: GSM8K, MATH, and MATH by math-verify in this process.

Usage: python benchmarks/grading.py [--data FOLDER] [--rows 2000] [--workers 2]

The texts are the solutions of the test sets, half of them given to their own problem and half to
the next one, whose answer is another. The wrong half has the cost: a right answer is mostly written
as the data set writes it. So MATH is measured three times:

1. as a run grades it, both graders, what needs no mathematics decided at once;
2. the pairs that do need math-verify alone, through the pool;
3. these pairs by math-verify in this process, with its own time limit, as it is used elsewhere.

The last two grade the same pairs, so their ratio, printed last, is that of the pool to one process;
the pool's workers also run math-verify with what `qstar_core.grading.math_faster` changes in it.
Starting the workers is measured apart: it is paid once.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from qstar_core.domains import gsm8k, gsm8k_problems, math_problems  # noqa: E402
from qstar_core.domains import math as math_domain  # noqa: E402
from qstar_core.grading import math, math_answers, math_pool  # noqa: E402
from qstar_core.mdp import Problem  # noqa: E402

DATA = Path(os.environ.get("QSTAR_DATA", ROOT.parent / "shared" / "data"))
Pair = tuple[Problem, list[str]]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder with gsm8k/ and math/")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=None)
    args = parser.parse_args()
    if not (args.data / "math").is_dir():
        print(f"no GSM8K and MATH in {args.data}: set QSTAR_DATA, or --data")
        return
    words = pairs(args.data / "gsm8k" / "test.jsonl", gsm8k_problems.from_row, "answer")
    latex = pairs(args.data / "math" / "test.jsonl.gz", math_problems.from_row, "solution")
    words, latex = words[: args.rows], latex[: args.rows]

    show("GSM8K", len(words), timed(lambda: [gsm8k.grade(*pair) for pair in words]))
    math_pool._shared[os.getpid()] = pool = math_pool.Pool(args.workers)
    started = timed(lambda: pool.compare([("x", f"y_{k}") for k in range(100)]))
    print(f"{'starting the pool':32} {pool.size:6} workers  {started:8.2f} s")
    show("MATH, as a run does", len(latex), timed(lambda: math_domain.grade_many(latex)))

    hard = needs_mathematics(latex)
    pooled = timed(lambda: pool.compare(hard))
    show("MATH, math-verify in the pool", len(hard), pooled)
    alone = timed(lambda: [in_process(*pair) for pair in hard])
    show("MATH, math-verify in process", len(hard), alone)
    print(f"pool of {pool.size} / one process: {alone / pooled:.2f}")


def pairs(file: Path, from_row: Callable[[object, str], Problem], field: str) -> list[Pair]:
    """Problems with a solution each: every second one has that of the next problem."""
    content = file.read_bytes()
    content = gzip.decompress(content) if file.suffix == ".gz" else content
    rows: list[dict[str, Any]] = [json.loads(line) for line in content.decode().split("\n") if line]
    texts = [row[field].splitlines(keepends=True) for row in rows]
    places = [k + k % 2 for k in range(len(rows))]
    return [
        (from_row(row, "test"), texts[place % len(rows)])
        for row, place in zip(rows, places, strict=True)
    ]


def needs_mathematics(latex: list[Pair]) -> list[tuple[str, str]]:
    """The pairs of answers that are not decided at once, each once."""
    found = {}
    for problem, steps in latex:
        answer = math_answers.final("".join(steps))
        pair = (math_domain.right_answer(problem), answer or "")
        if math._at_once(pair[0], answer) is None:
            found[pair] = None
    return list(found)


def in_process(gold: str, answer: str) -> bool:
    """math-verify as its documentation calls it."""
    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    return bool(verify(parse(f"${gold}$"), parse(f"${answer}$")))


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def show(what: str, count: int, seconds: float) -> None:
    """A line of the table."""
    print(f"{what:32} {count:6,} gradings {seconds:8.2f} s {count / seconds:10,.0f} /s", flush=True)


if __name__ == "__main__":
    main()
