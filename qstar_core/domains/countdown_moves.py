"""The moves of countdown, and what can still be reached from some numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache

MAX_INTEGER = 200
MAX_NUMERATOR = 40
MAX_DENOMINATOR = 13
OPERATORS = ("+", "-", "*", "/")
TABULATED_NUMBERS = 3  # so many remaining numbers have few endings: all are counted at once

Numbers = tuple[Fraction, ...]
"""Remaining numbers, largest first."""


def representable(value: Fraction) -> bool:
    """Whether a value may stand in a line (non-negative, within the domain's bounds)."""
    if value < 0:
        return False
    if value.denominator == 1:
        return value.numerator <= MAX_INTEGER
    return value.denominator <= MAX_DENOMINATOR and value.numerator <= MAX_NUMERATOR


def apply(operator: str, left: Fraction, right: Fraction) -> Fraction | None:
    """The representable result of ``left operator right``, or None when there is none."""
    if operator == "+":
        value = left + right
    elif operator == "-":
        value = left - right
    elif operator == "*":
        value = left * right
    elif operator == "/" and right != 0:
        value = left / right
    else:
        return None
    return value if representable(value) else None


def ordered(numbers: Sequence[Fraction]) -> Numbers:
    """The canonical order of remaining numbers: largest first."""
    return tuple(sorted(numbers, reverse=True))


def show(numbers: Sequence[Fraction], target: int) -> str:
    """The state text ``13 10 9 4 > 24``."""
    return " ".join(str(n) for n in ordered(numbers)) + f" > {target}"


def line(operator: str, left: Fraction, right: Fraction, remaining: Numbers, target: int) -> str:
    """The action text ``left operator right = value | what remains > target``."""
    value = apply(operator, left, right)
    return f"{left} {operator} {right} = {value} | {show(remaining, target)}"


def moves(numbers: Numbers) -> Iterator[tuple[str, Fraction, Fraction, Numbers]]:
    """All legal moves from the remaining numbers as (operator, left, right, remaining after).

    Each unordered choice appears once: + and * with the larger operand first, as the reference
    policy writes them; equal numbers are not told apart.
    """
    seen: set[tuple[str, Fraction, Fraction]] = set()
    for i, left in enumerate(numbers):
        for j, right in enumerate(numbers):
            if i == j:
                continue
            rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
            for operator in OPERATORS:
                if operator in "+*" and left < right:
                    continue
                value = apply(operator, left, right)
                if value is None or (operator, left, right) in seen:
                    continue
                seen.add((operator, left, right))
                yield operator, left, right, ordered([*rest, value])


@lru_cache(maxsize=500_000)
def solvable(numbers: Numbers, target: int) -> bool:
    """Whether the target can be reached from the remaining numbers using all of them."""
    if len(numbers) == 1:
        return numbers[0] == target
    return any(solvable(rest, target) for rest in {m[3] for m in moves(numbers)})


def may_end(numbers: Numbers, value: Fraction, given: Numbers, target: int) -> bool:
    """Whether a play in which not all numbers must be used is right when it ends here.

    Args:
        numbers: what remains, the result of the last line among them.
        value: that result.
        given: the numbers of the problem.
        target: of the problem.
    """
    left = Counter(numbers)
    left[value] -= 1
    return value == target and left <= Counter(given)


@lru_cache(maxsize=500_000)
def ends_after(numbers: Numbers, given: Numbers, target: int, lines: int) -> bool:
    """Whether a play in which not all numbers must be used can end right after so many lines.

    Args:
        numbers: what remains.
        given: the numbers of the problem.
        target: of the problem.
        lines: from here on, 1 or more.
    """
    if lines >= len(numbers) or (lines == 1 and not _made_by_two(numbers, target)):
        return False
    for operator, left, right, rest in moves(numbers):
        if lines > 1:
            found = ends_after(rest, given, target, lines - 1)
        else:
            value = apply(operator, left, right)
            found = value is not None and may_end(rest, value, given, target)
        if found:
            return True
    return False


def _made_by_two(numbers: Numbers, target: int) -> bool:
    """Whether one operation on two of the numbers makes the target; quick to rule out."""
    for i, left in enumerate(numbers):
        for right in numbers[i + 1 :]:  # not larger than left
            if target in (left + right, left - right, left * right):
                return True
            if left == target * right or right == target * left:
                return True
    return False


def fewest_lines(numbers: Numbers, given: Numbers, target: int) -> int | None:
    """The fewest lines, at least one, after which such a play can end right; None if it cannot."""
    counts = range(1, len(numbers))
    return next((k for k in counts if ends_after(numbers, given, target, k)), None)


@lru_cache(maxsize=100_000)
def count_solutions(numbers: Numbers, target: int) -> int:
    """The number of distinct legal plays (sequences of lines) that reach the target."""
    if len(numbers) <= TABULATED_NUMBERS:
        return _endings(numbers).get(target, 0)
    return sum(count_solutions(m[3], target) for m in moves(numbers))


@lru_cache(maxsize=20_000)
def _endings(numbers: Numbers) -> dict[int, int]:
    """For each integer that some play ends in, the number of plays that do."""
    if len(numbers) == 1:
        return {int(numbers[0]): 1} if numbers[0].denominator == 1 else {}
    found: Counter[int] = Counter()
    for move in moves(numbers):
        found.update(_endings(move[3]))
    return dict(found)
