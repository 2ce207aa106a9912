"""The problems of countdown: generated from a seed, or read from a user's JSONL file.

Whatever they come from, no problem of one split is in the other: generated ones are told apart by
their hash and leave out those of the other split's file, and two files must not share one.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from qstar_core.config import CountdownRanges, DomainConfig
from qstar_core.domains import countdown
from qstar_core.errors import UserError
from qstar_core.keys import canonical_json
from qstar_core.mdp import Problem
from qstar_core.store import open_store
from qstar_core.store.uri import is_remote

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

    All of them can be solved, in at least ``ranges.min_solutions`` ways.

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
        numbers = tuple(
            sorted(rng.randint(ranges.min_number, ranges.max_number) for _ in range(ranges.numbers))
        )
        target = rng.randint(ranges.min_target, ranges.max_target)
        key = (numbers, target)
        if key in found or countdown.split_of(numbers, target) != split:
            continue
        if not _easy_enough(numbers, target, ranges.min_solutions):
            continue
        problem = countdown.make_problem(numbers, target)
        if problem.id not in left_out:
            found[key] = problem
    if len(found) < count:
        raise UserError(
            f"domain: only {len(found)} {split} problems of these ranges found, {count} asked for",
            next_step=f"widen domain.ranges, or set a lower domain.{split}_problems",
        )
    return list(found.values())


def _easy_enough(numbers: tuple[int, ...], target: int, min_solutions: int) -> bool:
    start = countdown.ordered([Fraction(n) for n in numbers])
    if min_solutions == 1:
        return countdown.solvable(start, target)
    return countdown.count_solutions(start, target) >= min_solutions


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


def load(path: Path | str) -> ProblemFile:
    """Reads a JSONL file with rows like ``{"numbers": [4, 9, 10, 13], "target": 24}``.

    Every problem of the file is kept, solvable or not. An ``s3://`` file is read once per process.

    Raises:
        UserError: the file is missing, empty or not UTF-8, or a row is malformed; names the row.
    """
    if is_remote(str(path)):
        return _parse(str(path), _remote(str(path)))
    path = Path(path)
    if not path.is_file():
        raise _missing(str(path))
    return _parse(str(path), path.read_bytes())


@lru_cache(maxsize=4)
def _remote(uri: str) -> bytes:
    folder, _, name = uri.rpartition("/")
    store = open_store(folder)
    store.check("domain.train_file or domain.test_file")
    try:
        return store.read(name)
    except FileNotFoundError as error:
        raise _missing(uri) from error


def _missing(path: str) -> UserError:
    return UserError(
        f"domain.train_file or domain.test_file: no such file: {path}",
        next_step=f"write one problem per line, for example {EXAMPLE}",
    )


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
    return load(path) if path is not None else None


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


def unsolvable(problems: Sequence[Problem]) -> int | None:
    """How many of some problems have no solution; None where that takes too long to find out."""
    starts = [countdown.start(problem) for problem in problems]
    if any(len(numbers) > CHEAP_NUMBERS for numbers, _ in starts):
        return None
    return sum(not countdown.solvable(*start) for start in starts)


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
    if not 0 <= target <= countdown.MAX_INTEGER:
        raise ValueError(f"target must be in 0..{countdown.MAX_INTEGER}, got {target}")
    if not isinstance(numbers, list) or not 2 <= len(numbers) <= 6:
        raise TypeError("numbers must be a list of 2 to 6 integers")
    for number in numbers:
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"numbers must be integers, got {number!r}")
        if not 0 <= number <= countdown.MAX_INTEGER:
            raise ValueError(f"numbers must be in 0..{countdown.MAX_INTEGER}, got {number}")
    return countdown.make_problem(numbers, target)
