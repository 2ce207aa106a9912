"""Countdown: reach a target from n numbers with + - * /, every number used exactly once.

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

import codecs
import hashlib
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from qstar_core.config import CountdownRanges, DomainConfig
from qstar_core.errors import UserError
from qstar_core.grading import Grade, Outcome
from qstar_core.keys import canonical_json
from qstar_core.mdp import Problem, Step

MAX_INTEGER = 200
MAX_NUMERATOR = 40
MAX_DENOMINATOR = 13
OPERATORS = ("+", "-", "*", "/")
GENERATED = {"train": 2000, "test": 500}  # problems of a split, unless the user says how many
EXAMPLE = '{"numbers": [4, 9, 10, 13], "target": 24}'
TEST_BUCKETS = 10  # of 100 hash buckets: one problem in ten is held out from all training

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


@lru_cache(maxsize=100_000)
def count_solutions(numbers: Numbers, target: int) -> int:
    """The number of distinct legal plays (sequences of lines) that reach the target."""
    if len(numbers) == 1:
        return int(numbers[0] == target)
    return sum(count_solutions(m[3], target) for m in moves(numbers))


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


def make_problem(numbers: Sequence[int], target: int) -> Problem:
    """The problem with its canonical prompt; its split is decided by its hash."""
    return Problem(
        domain="countdown",
        prompt=show([Fraction(n) for n in numbers], target) + "\n",
        reference=canonical_json({"numbers": sorted(numbers), "target": target}),
        split=split_of(numbers, target),
    )


def generate(
    split: str,
    count: int,
    ranges: CountdownRanges,
    seed: int,
    left_out: frozenset[str] = frozenset(),
) -> list[Problem]:
    """The first ``count`` distinct solvable problems of a split in a seeded random order.

    Args:
        split: ``"train"`` or ``"test"``.
        count: problems wanted; fewer would be an error.
        ranges: numbers per problem and inclusive ranges of numbers and targets.
        seed: of the order, hence of the selection.
        left_out: ids of problems that must not be among them.

    Raises:
        UserError: the ranges hold fewer solvable problems than asked for.
    """
    rng = random.Random(canonical_json(["countdown", split, seed]))
    found: dict[tuple[tuple[int, ...], int], Problem] = {}
    for _ in range(200 * count + 20_000):
        if len(found) == count:
            break
        numbers = tuple(
            sorted(rng.randint(ranges.min_number, ranges.max_number) for _ in range(ranges.numbers))
        )
        target = rng.randint(ranges.min_target, ranges.max_target)
        key = (numbers, target)
        if key in found or split_of(numbers, target) != split:
            continue
        if not solvable(ordered([Fraction(n) for n in numbers]), target):
            continue
        problem = make_problem(numbers, target)
        if problem.id not in left_out:
            found[key] = problem
    if len(found) < count:
        raise UserError(
            f"domain: only {len(found)} solvable {split} problems found, {count} asked for",
            next_step="widen domain.max_number or domain.max_target, or ask for fewer problems",
        )
    return list(found.values())


@dataclass(frozen=True, slots=True)
class ProblemFile:
    """A user's file of problems.

    Attributes:
        path: as it was given.
        sha256: of its content.
        problems: in the order of the file, repeated ones once.
        rows: number of the row, from 1, that has a problem first, by the problem's id.
        repeated: rows that repeat the problem of an earlier row.
    """

    path: str
    sha256: str
    problems: tuple[Problem, ...]
    rows: Mapping[str, int]
    repeated: int


def load(path: Path) -> ProblemFile:
    """Reads a JSONL file with rows like ``{"numbers": [4, 9, 10, 13], "target": 24}``.

    Every problem of the file is kept, solvable or not.

    Raises:
        UserError: the file is missing, empty or not UTF-8, or a row is malformed; names the row.
    """
    if not path.is_file():
        raise UserError(
            f"domain.train_file or domain.test_file: no such file: {path}",
            next_step=f"write one problem per line, for example {EXAMPLE}",
        )
    return _parse(str(path), path.read_bytes())


@lru_cache(maxsize=4)
def _parse(path: str, content: bytes) -> ProblemFile:
    problems: list[Problem] = []
    rows: dict[str, int] = {}
    repeated = 0
    for row, text in enumerate(_decode(path, content).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            problem = _problem_from_row(json.loads(text))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(
                f"{path}, row {row}: {error}", next_step=f"mend row {row}; a right one: {EXAMPLE}"
            ) from error
        if rows.setdefault(problem.id, row) == row:
            problems.append(problem)
        else:
            repeated += 1
    if not problems:
        raise UserError(
            f"{path}: no problem in it", next_step=f"write one per line, for example {EXAMPLE}"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    return ProblemFile(path, sha256, tuple(problems), rows, repeated)


def _decode(path: str, content: bytes) -> str:
    if content.startswith(codecs.BOM_UTF8):
        raise UserError(
            f"{path}, row 1, byte 1: the file begins with a byte order mark",
            next_step="save it as UTF-8 without a byte order mark",
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, row {row}, byte {error.start + 1} of the file: not UTF-8 ({error.reason})",
            next_step="save it as UTF-8",
        ) from error


def given(domain: DomainConfig, split: str) -> ProblemFile | None:
    """The user's file of a split, if there is one."""
    path = domain.train_file if split == "train" else domain.test_file
    return load(Path(path)) if path is not None else None


def count(domain: DomainConfig, split: str) -> int:
    """How many problems a split has."""
    asked = domain.train_problems if split == "train" else domain.test_problems
    file = given(domain, split)
    if file is None:
        return GENERATED[split] if asked is None else asked
    there = len(file.problems)
    return there if asked is None else min(asked, there)


def left_out(domain: DomainConfig, split: str) -> frozenset[str]:
    """Ids that a generated split leaves out: all problems of the other split's file."""
    other = given(domain, "test" if split == "train" else "train")
    return frozenset(other.rows) if other is not None else frozenset()


def check_disjoint(domain: DomainConfig) -> None:
    """Refuses two files that share a problem.

    Raises:
        UserError: names the row of the test file and that of the training file.
    """
    train, test = given(domain, "train"), given(domain, "test")
    if train is None or test is None:
        return
    for problem in test.problems:
        if problem.id in train.rows:
            here, there = test.rows[problem.id], train.rows[problem.id]
            raise UserError(
                f"{test.path}, row {here} and {train.path}, row {there} are the same problem, "
                f"{problem.prompt.strip()}: a held-out problem must not be trained on",
                next_step=f"remove row {there} of {train.path} or row {here} of {test.path}",
            )


def problems(domain: DomainConfig, split: str, seed: int) -> list[Problem]:
    """The problems of a split: the first ones of its file, else generated."""
    file, wanted = given(domain, split), count(domain, split)
    if file is not None:
        return list(file.problems[:wanted])
    return generate(split, wanted, domain.ranges, seed, left_out(domain, split))


def notes(domain: DomainConfig) -> list[str]:
    """Which rows of the users' files are not used, one line each."""
    found = []
    for split in ("train", "test"):
        file, used = given(domain, split), count(domain, split)
        if file is None:
            continue
        if file.repeated:
            found.append(f"{file.path}: {file.repeated:,} rows repeat an earlier one; used once")
        if used < len(file.problems):
            found.append(
                f"domain.{split}_problems: "
                f"first {used:,} of {len(file.problems):,} rows of {file.path}"
            )
    return found


def _problem_from_row(row: object) -> Problem:
    if not isinstance(row, dict):
        raise TypeError("not a JSON object")
    unknown = set(row) - {"numbers", "target"}
    if unknown:
        raise KeyError(f"unknown field {sorted(unknown)[0]!r}")
    for field in ("numbers", "target"):
        if field not in row:
            raise KeyError(f"field {field!r} is missing")
    numbers, target = row["numbers"], row["target"]
    if not isinstance(target, int) or isinstance(target, bool):
        raise TypeError(f"target must be an integer, got {target!r}")
    if not 0 <= target <= MAX_INTEGER:
        raise ValueError(f"target must be in 0..{MAX_INTEGER}, got {target}")
    if not isinstance(numbers, list) or not 2 <= len(numbers) <= 6:
        raise TypeError("numbers must be a list of 2 to 6 integers")
    for number in numbers:
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"numbers must be integers, got {number!r}")
        if not 0 <= number <= MAX_INTEGER:
            raise ValueError(f"numbers must be in 0..{MAX_INTEGER}, got {number}")
    return make_problem(numbers, target)


def start(problem: Problem) -> tuple[Numbers, int]:
    """The numbers (largest first) and the target of a problem."""
    reference = json.loads(problem.reference)
    return ordered([Fraction(n) for n in reference["numbers"]]), int(reference["target"])


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
    numbers: Numbers | None
    numbers, target = start(problem)
    states: list[Numbers | None] = []
    for text in steps:
        numbers = follow(numbers, target, text) if numbers is not None else None
        states.append(numbers)
    return states


def max_steps(problem: Problem) -> int:
    """Lines in a complete play: one less than there are numbers."""
    return len(start(problem)[0]) - 1


def is_terminal(problem: Problem, steps: Sequence[Step]) -> bool:
    """Whether the play is over: the policy ended it, or all lines are written."""
    return bool(steps) and (steps[-1].ended or len(steps) >= max_steps(problem))


def grade(problem: Problem, steps: Sequence[str]) -> Grade:
    """Grades a whole play: correct when every line is legal and the last one is the target.

    A play whose last line has not one number left gives no answer; an illegal line anywhere
    makes a play that answers wrong.
    """
    last = parse_line(steps[-1]) if steps else None
    if last is None or len(last.remaining) != 1:
        return Grade(Outcome.NO_ANSWER, reason="the last line leaves no single number")
    answer = str(last.remaining[0])
    states = walk(problem, steps)
    if None in states:
        return Grade(Outcome.WRONG, answer, f"line {states.index(None) + 1} is not legal")
    target = start(problem)[1]
    if states[-1] != (Fraction(target),):
        return Grade(Outcome.WRONG, answer, f"ends in {answer}, not {target}")
    return Grade(Outcome.CORRECT, answer)


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
    target = start(problem)[1]
    return [
        gamma ** (len(numbers) - 1) if numbers is not None and solvable(numbers, target) else 0.0
        for numbers in walk(problem, steps)
    ]


def expected_tokens(numbers: int) -> int:
    """Policy tokens of a complete play of n numbers under the reference tokenizer."""
    return sum(9 + left for left in range(1, numbers))
