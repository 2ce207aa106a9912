"""Countdown: reach a target from n numbers with + - * /, every number used exactly once.

In a variant (``use_all: false``) not all numbers must be used. A play ends where the policy ends
it, its last line has to make the target, and every other line has to be of use: what is left beside
the target are numbers that were given. So the number of lines differs by problem.

One line is one action. A line merges two of the remaining numbers and repeats what is left and
the target, so the last line alone is a Markov state::

    13 10 9 4 > 24            prompt: the numbers, largest first, and the target
    13 - 9 = 4 | 10 4 4 > 24  a legal line
    10 - 4 = 6 | 6 4 > 24
    6 * 4 = 24 | 24 > 24      the terminal line; it solves the problem

The Game of 24 is the case ``target = 24``. Arithmetic is exact and over the non-negative
rationals; a value is *representable* when it is an integer up to ``MAX_INTEGER`` or a reduced
fraction with numerator up to ``MAX_NUMERATOR`` and denominator up to ``MAX_DENOMINATOR`` (so
``8 / (3 - 8/3) = 24`` can be played). Negative values are never needed: a solution that passes
through one has a twin that does not.

Every problem is small enough for the exact optimal action value Q* of the Q* paper
(arXiv 2406.14283, eq. 2) to be a memoised recursion: R is 1 on a correct terminal line, so
``Q*(s, a) = gamma^(lines left after a)`` when the target can still be reached, else 0.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from qstar_core.domains.arithmetic import reaches
from qstar_core.domains.countdown_moves import (
    MAX_DENOMINATOR,
    MAX_INTEGER,
    MAX_NUMERATOR,
    OPERATORS,
    Numbers,
    apply,
    count_solutions,
    ends_after,
    fewest_lines,
    line,
    may_end,
    moves,
    ordered,
    representable,
    show,
    solvable,
)
from qstar_core.grading import Grade, Outcome
from qstar_core.keys import canonical_json
from qstar_core.mdp import Problem, Step

__all__ = [
    "MAX_DENOMINATOR",
    "MAX_INTEGER",
    "MAX_NUMERATOR",
    "OPERATORS",
    "Fraction",
    "Numbers",
    "apply",
    "count_solutions",
    "ends_after",
    "fewest_lines",
    "line",
    "may_end",
    "moves",
    "ordered",
    "representable",
    "show",
    "solvable",
]

KEPT_PROBLEMS, KEPT_PATHS = 4096, 20_000  # whose remaining numbers are kept
TEST_BUCKETS = 10  # of 100 hash buckets: one problem in ten is held out from all training


def bucket(numbers: Sequence[int], target: int) -> int:
    """The hash bucket 0..99 of a problem, independent of the order of its numbers."""
    key = " ".join(map(str, sorted(numbers))) + f" > {target}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 100


def split_of(numbers: Sequence[int], target: int) -> str:
    """``"test"`` for the held-out tenth of all problems, else ``"train"``."""
    return "test" if bucket(numbers, target) < TEST_BUCKETS else "train"


@dataclass(frozen=True, slots=True)
class Line:
    """A parsed action line."""

    operator: str
    left: Fraction
    right: Fraction
    value: Fraction
    remaining: Numbers
    target: int


def make_problem(numbers: Sequence[int], target: int, use_all: bool = True) -> Problem:
    """The problem with its canonical prompt; its split is decided by its hash."""
    variant = {} if use_all else {"use_all": False}
    return Problem(
        domain="countdown",
        prompt=show([Fraction(n) for n in numbers], target) + "\n",
        reference=canonical_json({"numbers": sorted(numbers), "target": target, **variant}),
        split=split_of(numbers, target),
    )


def start(problem: Problem) -> tuple[Numbers, int]:
    """The numbers (largest first) and the target of a problem."""
    return _start(problem.reference)


@lru_cache(maxsize=KEPT_PROBLEMS)
def _start(reference: str) -> tuple[Numbers, int]:
    given = json.loads(reference)
    return ordered([Fraction(n) for n in given["numbers"]]), int(given["target"])


@lru_cache(maxsize=KEPT_PROBLEMS)
def _uses_all(reference: str) -> bool:
    return bool(json.loads(reference).get("use_all", True))


def uses_all(problem: Problem) -> bool:
    """Whether every number of a problem must be used."""
    return _uses_all(problem.reference)


NUMBER = r"\d+(?:/\d+)?"
LINE = re.compile(rf"({NUMBER}) ([-+*/]) ({NUMBER}) = ({NUMBER}) \| ((?:{NUMBER} )+)> (\d+)")


def parse_line(text: str) -> Line | None:
    """The parts of an action line, or None when it does not have the form of one."""
    match = LINE.fullmatch(text.strip())
    if match is None:
        return None
    try:
        left, right, value = (Fraction(match[k]) for k in (1, 3, 4))
        remaining = tuple(Fraction(n) for n in match[5].split())
    except ZeroDivisionError:
        return None
    return Line(match[2], left, right, value, remaining, int(match[6]))


def follow(numbers: Numbers, target: int, text: str) -> Numbers | None:
    """The numbers that remain after a line, or None when the line is not legal.

    A line is legal when it has the right form, uses two different remaining numbers, its
    arithmetic is true and its value representable, and it repeats what remains and the target.
    """
    step = parse_line(text)
    if step is None or step.target != target:
        return None
    rest = list(numbers)
    for used in (step.left, step.right):
        if used not in rest:
            return None
        rest.remove(used)
    value = apply(step.operator, step.left, step.right)
    if value is None or value != step.value:
        return None
    after = ordered([*rest, value])
    return after if after == ordered(step.remaining) else None


def walk(problem: Problem, steps: Sequence[str]) -> list[Numbers | None]:
    """The numbers remaining after each line; None from the first illegal line on."""
    return [_after(problem.reference, tuple(steps[: k + 1])) for k in range(len(steps))]


@lru_cache(maxsize=KEPT_PATHS)
def _after(reference: str, steps: tuple[str, ...]) -> Numbers | None:
    """What remains after some lines: a search asks this of each path, one line longer each time."""
    numbers, target = _start(reference)
    before = _after(reference, steps[:-1]) if steps[:-1] else numbers
    return None if before is None else follow(before, target, steps[-1])


def max_steps(problem: Problem) -> int:
    """Lines in a complete play, at most: one less than there are numbers."""
    return len(start(problem)[0]) - 1


def is_terminal(problem: Problem, steps: Sequence[Step]) -> bool:
    """Whether the play is over: the policy ended it, or all lines are written."""
    return bool(steps) and (steps[-1].ended or len(steps) >= max_steps(problem))


def answer(problem: Problem, steps: Sequence[str]) -> str:
    """The number that a play claims to end in, legal or not; empty when it ends in none.

    Where not all numbers must be used it is the result of the last line.
    """
    last = parse_line(steps[-1]) if steps else None
    if not uses_all(problem):
        return str(last.value) if last is not None else ""
    return str(last.remaining[0]) if last is not None and len(last.remaining) == 1 else ""


def canonical(problem: Problem, steps: Sequence[str]) -> str | None:
    """What decides the future of a legal play: the numbers that remain. None if it is illegal.

    Where not all numbers must be used the last result too: the play may end with it.
    """
    remaining = walk(problem, steps)[-1] if steps else start(problem)[0]
    if remaining is None:
        return None
    numbers = " ".join(map(str, remaining))
    return numbers if uses_all(problem) or not steps else f"{numbers} = {answer(problem, steps)}"


def solution_form(problem: Problem, steps: Sequence[str]) -> str:
    """What two plays have in common that differ by the order of independent lines alone.

    The operations with their operands, sorted; an illegal line stands for itself.
    """
    lines = []
    for text in steps:
        step = parse_line(text)
        if step is None:
            lines.append(text.strip())
            continue
        pair = [step.left, step.right]
        left, right = sorted(pair, reverse=True) if step.operator in "+*" else pair
        lines.append(f"{left} {step.operator} {right}")
    return "; ".join(sorted(lines))


def grade(problem: Problem, steps: Sequence[str]) -> Grade:
    """Grades a whole play: correct when every line is legal and the last one is the target.

    A play whose last line has not one number left gives no answer; an illegal line anywhere
    makes a play that answers wrong. Where not all numbers must be used the answer is the result of
    the last line, and a line whose result is not used makes the play wrong.
    """
    given = answer(problem, steps)
    if not given:
        return Grade(Outcome.NO_ANSWER, reason="the last line leaves no single number")
    states = walk(problem, steps)
    last = states[-1]
    if last is None or None in states:
        return Grade(Outcome.WRONG, given, f"line {states.index(None) + 1} is not legal")
    numbers, target = start(problem)
    if Fraction(given) != target:
        return Grade(Outcome.WRONG, given, f"ends in {given}, not {target}")
    if not uses_all(problem) and not may_end(last, Fraction(given), numbers, target):
        return Grade(Outcome.WRONG, given, "the result of a line before the last is not used")
    return Grade(Outcome.CORRECT, given)


def lenient(problem: Problem, steps: Sequence[str]) -> bool:
    """Whether a play's own arithmetic reaches the target, in whatever form it is written.

    Only the audit asks this: a play that `grade` calls wrong and this calls right failed by its
    form, not by its plan. It grades nothing.
    """
    numbers, target = start(problem)
    return reaches(numbers, Fraction(target), steps, uses_all(problem))


GRADER = "countdown-exact"
GRADER_VERSION = "1"


def rule_rewards(problem: Problem, steps: Sequence[str]) -> list[float]:
    """The rule-based process reward R_P: 1 for a legal line, 0 for an illegal one.

    Every line after an illegal one is illegal too, since it continues from a false state.
    """
    return [float(numbers is not None) for numbers in walk(problem, steps)]


def q_star(problem: Problem, steps: Sequence[str], gamma: float = 1.0) -> list[float]:
    """The exact optimal action value Q*(s_t, a_t) of every line of a play.

    Returns:
        ``gamma ** (lines left after line t)`` where the target can still be reached, else 0.
    """
    given, target = start(problem)
    if not uses_all(problem):
        return [0.0 if left is None else gamma**left for left in _lines_left(problem, steps, given)]
    return [
        gamma ** (len(numbers) - 1) if numbers is not None and solvable(numbers, target) else 0.0
        for numbers in walk(problem, steps)
    ]


def _lines_left(problem: Problem, steps: Sequence[str], given: Numbers) -> Iterator[int | None]:
    """Lines left after each line where not all numbers must be used; None where it is lost."""
    target = start(problem)[1]
    for text, numbers in zip(steps, walk(problem, steps), strict=True):
        step = parse_line(text)
        if numbers is None or step is None:
            yield None
        elif may_end(numbers, step.value, given, target):
            yield 0
        else:
            yield fewest_lines(numbers, given, target)


def expected_tokens(numbers: int) -> int:
    """Policy tokens of a complete play of n numbers under the reference tokenizer."""
    return sum(9 + left for left in range(1, numbers))
