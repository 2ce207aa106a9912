"""Texts that no grader should meet, among good rows: it ends, and the good rows are right.

Bounded means bounded by the CPU time of the workers: each bad pair may take its time limit and the
grace after it, nothing more. The clock is not looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from qstar_core.domains import math as domain
from qstar_core.grading import Outcome, math, math_pool
from qstar_core.grading.math_pool import Pool
from tests.processes import ended, wait_until

NOT_JUDGED = {Outcome.TIMEOUT, Outcome.GRADER_ERROR}


def nested(depth: int) -> str:
    return "\\frac{1}{1+" * depth + "x" + "}" * depth


def matrix(size: int) -> str:
    rows = " \\\\ ".join(" & ".join(f"x^{{{i}{j}}}" for j in range(size)) for i in range(size))
    return f"\\begin{{pmatrix}} {rows} \\end{{pmatrix}}"


BAD = [
    "10^{10^{10}}",
    "9^{9^{9^{9}}}",
    "999999999!",
    "\\int_0^1 \\sin(x^x) dx",
    "\\sum_{n=1}^{10^{9}} \\frac{1}{n^n}",
    "\\binom{10^9}{5 \\cdot 10^8}",
    "\\prod_{k=1}^{100000000} k",
    "\\lim_{x \\to 0} \\frac{\\sin(\\tan x) - \\tan(\\sin x)}{x^7}",
    nested(500),
    nested(60),
    matrix(8),
    matrix(100),
    "9" * 1_000_000,
    "(" * 900,
    "{" * 450 + "x" + "}" * 450,
    "\\sqrt{" * 140 + "2" + "}" * 140,
    "((((x+1)^{99}+1)^{99}+1)^{99}+1)^{99}",
    "(a+b+c+d+e+f+g)^{200}",
    "\\frac{1}{0}",
    "0^0",
    "\\infty - \\infty",
    "\\text{" + "z" * 900 + "}",
    "\\\\" * 400,
    "$" * 900,
    "1 \\ 2 \\ % \ud800",
    "x_{x_{x_{x_{x_{1}}}}}",
    "\x00\x01",
    "import os; os.system('false')",
    "\\begin{matrix}",
    "=" * 500,
]
GOOD = [
    ("x + {n}", "{n} + x"),
    ("{n}", "{n}.0"),
    ("\\frac{{{n}}}{{7}} x", "\\frac{{{n}x}}{{7}}"),
    ("\\{{{n}, 1000\\}}", "\\{{1000, {n}\\}}"),
    ("{n} \\text{{ cm}}", "{n}"),
]


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    found = Pool(size=2, cpu_s=1.0)
    monkeypatch.setattr(math_pool, "shared", lambda: found)
    monkeypatch.setattr(math, "_findings", {})
    yield found
    found.close()


def storm(rows: int, texts: list[str], bad: int) -> list[tuple[str, str, bool]]:
    """Right answers, given ones, and whether the pair is a good one; the bad ones spread out."""
    found, place = [], 0
    for number in range(rows):
        if number % (rows // bad) == 0 and place < bad:
            text = texts[place % len(texts)]
            text += f" + {place}" if place >= len(texts) else ""  # not compared already
            found.append(("\\pi + 1", text, False))
            place += 1
        else:
            gold, answer = GOOD[number % len(GOOD)]
            found.append((gold.format(n=number + 2), answer.format(n=number + 2), True))
    return found


def check(rows: list[tuple[str, str, bool]], pool: Pool) -> None:
    pairs = [
        (domain.make_problem("?", gold, "test"), ["So\n", f"it is \\boxed{{{answer}}}"])
        for gold, answer, _ in rows
    ]
    grades = domain.grade_many(pairs)
    good = [grade.outcome for grade, row in zip(grades, rows, strict=True) if row[2]]
    assert Counter(good) == {Outcome.CORRECT: len(good)}
    bad = [grade.outcome for grade, row in zip(grades, rows, strict=True) if not row[2]]
    assert Outcome.CORRECT not in bad
    assert NOT_JUDGED & set(bad)
    pids = pool.pids()
    assert len(pids) <= pool.size
    assert not any(ended(pid) for pid in pids)
    pool.close()
    wait_until(lambda: all(ended(pid) for pid in pids), "the workers end")


def test_some_bad_texts_among_good_ones(pool: Pool) -> None:
    check(storm(rows=50, texts=BAD[::4], bad=len(BAD[::4])), pool)


@pytest.mark.slow
def test_a_storm_of_two_thousand_rows(pool: Pool) -> None:
    check(storm(rows=2000, texts=BAD, bad=3 * len(BAD)), pool)
