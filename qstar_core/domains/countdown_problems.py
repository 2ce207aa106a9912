"""The problems of countdown: generated from a seed, or a row of a user's file."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from fractions import Fraction

from qstar_core.config import CountdownRanges, DomainConfig
from qstar_core.domains import countdown
from qstar_core.errors import UserError
from qstar_core.keys import canonical_json
from qstar_core.mdp import Problem

GENERATED = {"train": 2000, "test": 500}  # problems of a split, unless the user says how many
CHEAP_NUMBERS = 4  # of a problem whose plays are tried out in milliseconds
EXAMPLE = '{"numbers": [4, 9, 10, 13], "target": 24}'


def generate(
    split: str,
    count: int,
    ranges: CountdownRanges,
    seed: int,
    left_out: frozenset[str] = frozenset(),
) -> list[Problem]:
    """The first ``count`` distinct problems of a split in a seeded random order.

    All of them can be solved, in at least ``ranges.min_solutions`` ways. Of several counts of
    numbers each is as frequent as any other. Where not all numbers must be used, so is, among the
    problems of a count, every number of lines that they need at least.

    Args:
        split: ``"train"`` or ``"test"``.
        count: problems wanted; fewer would be an error.
        ranges: numbers per problem and inclusive ranges of numbers and targets.
        seed: of the order, hence of the selection.
        left_out: ids of problems that must not be among them.

    Raises:
        UserError: the ranges hold fewer such problems than asked for.
    """
    rng = random.Random(canonical_json(["countdown", split, seed]))
    found: dict[tuple[tuple[int, ...], int], Problem] = {}
    for _ in range(200 * count + 20_000):
        if len(found) == count:
            break
        turn, place = divmod(len(found), len(ranges.numbers))
        size = ranges.numbers[place]
        numbers = tuple(
            sorted(rng.randint(ranges.min_number, ranges.max_number) for _ in range(size))
        )
        target = rng.randint(ranges.min_target, ranges.max_target)
        key = (numbers, target)
        if key in found or countdown.split_of(numbers, target) != split:
            continue
        lines = turn % (size - 1) + 1
        if not _wanted(numbers, target, ranges, lines):
            continue
        problem = countdown.make_problem(numbers, target, ranges.use_all)
        if problem.id not in left_out:
            found[key] = problem
    if len(found) < count:
        raise _too_few(split, count, ranges, [len(numbers) for numbers, _ in found])
    return list(found.values())


def _too_few(split: str, count: int, ranges: CountdownRanges, sizes: list[int]) -> UserError:
    """The error of ranges that have not enough problems; ``sizes`` are those of the found ones."""
    step = f"widen domain.ranges, or set a lower domain.{split}_problems"
    if len(ranges.numbers) == 1:
        return UserError(
            f"domain: only {len(sizes)} {split} problems of these ranges found, {count} asked for",
            next_step=step,
        )
    place = len(sizes) % len(ranges.numbers)
    scarce = ranges.numbers[place]
    asked = len(range(place, count, len(ranges.numbers)))
    return UserError(
        f"domain: only {sizes.count(scarce)} {split} problems of {scarce} numbers in these ranges "
        f"found, {asked} asked for",
        next_step=f"leave {scarce} out of domain.ranges.numbers, {step}",
    )


def _wanted(numbers: tuple[int, ...], target: int, ranges: CountdownRanges, lines: int) -> bool:
    """Whether a problem is easy enough; ``lines`` is what it needs where not all must be used."""
    start = countdown.ordered([Fraction(n) for n in numbers])
    if not ranges.use_all:
        easier = any(countdown.ends_after(start, start, target, k) for k in range(1, lines))
        return not easier and countdown.ends_after(start, start, target, lines)
    if ranges.min_solutions == 1:
        return countdown.solvable(start, target)
    return countdown.count_solutions(start, target) >= ranges.min_solutions


def _solvable(problem: Problem) -> bool:
    numbers, target = countdown.start(problem)
    if countdown.uses_all(problem):
        return countdown.solvable(numbers, target)
    return countdown.fewest_lines(numbers, numbers, target) is not None


def unsolvable(problems: Sequence[Problem]) -> int | None:
    """How many of some problems have no solution; None where that takes too long to find out."""
    starts = [countdown.start(problem) for problem in problems]
    if any(len(numbers) > CHEAP_NUMBERS for numbers, _ in starts):
        return None
    return sum(not _solvable(problem) for problem in problems)


def from_row(row: object, split: str | None = None) -> Problem:
    """The problem of a row with ``numbers`` and ``target``, solvable or not.

    ``use_all: false`` is of a problem whose numbers need not all be used. Its split is decided by
    its hash, whatever split the row is read for.

    Raises:
        TypeError, KeyError, ValueError: the row is malformed.
    """
    if not isinstance(row, dict):
        raise TypeError("not a JSON object")
    unknown = set(row) - {"numbers", "target", "use_all"}
    if unknown:
        raise KeyError(f"unknown field {sorted(unknown)[0]!r}")
    for field in ("numbers", "target"):
        if field not in row:
            raise KeyError(f"field {field!r} is missing")
    numbers, target = row["numbers"], row["target"]
    if not isinstance(target, int) or isinstance(target, bool):
        raise TypeError(f"target must be an integer, got {target!r}")
    if not 0 <= target <= countdown.MAX_INTEGER:
        raise ValueError(f"target must be in 0..{countdown.MAX_INTEGER}, got {target}")
    if not isinstance(numbers, list) or not 2 <= len(numbers) <= 6:
        raise TypeError("numbers must be a list of 2 to 6 integers")
    for number in numbers:
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"numbers must be integers, got {number!r}")
        if not 0 <= number <= countdown.MAX_INTEGER:
            raise ValueError(f"numbers must be in 0..{countdown.MAX_INTEGER}, got {number}")
    use_all = row.get("use_all", True)
    if not isinstance(use_all, bool):
        raise TypeError(f"use_all must be true or false, got {use_all!r}")
    return countdown.make_problem(numbers, target, use_all)


def from_question(question: str, reference: object, split: str | None) -> Problem:
    """The problem of an imported row.

    Args:
        question: the prompt, such as ``13 10 9 4 > 24``.
        reference: ``numbers`` and ``target`` as in `EXAMPLE`, or that as a JSON text.
        split: not needed, the problem's hash decides it.

    Raises:
        TypeError, KeyError, ValueError: the reference is malformed, or is none of the question.
    """
    row = json.loads(reference) if isinstance(reference, str) else reference
    problem = from_row(row)
    if question.split() != problem.prompt.split():
        raise ValueError(f"the question of this reference is {problem.prompt.strip()!r}")
    return problem


def expected_tokens(domain: DomainConfig, max_new_tokens: int) -> int:
    """Policy tokens of a rollout: of a complete play under the reference tokenizer.

    Of problems of several counts of numbers, those of the largest.
    """
    return countdown.expected_tokens(max(domain.ranges.numbers))


def left_tokens(domain: DomainConfig, max_new_tokens: int) -> tuple[int, list[int]]:
    """Policy tokens of a line, and of what is left of a play after each line but the last.

    Of problems of several counts of numbers, those of the largest.
    """
    numbers = max(domain.ranges.numbers)
    line = countdown.expected_tokens(numbers) // max(1, numbers - 1) + 1
    return line, [countdown.expected_tokens(left) for left in range(2, numbers)]
