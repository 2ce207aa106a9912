"""The problems of a split, of any domain: from a user's JSONL file, or generated where that can be.

Whatever they come from, no problem of one split is in the other: generated ones are told apart by
their hash and leave out those of the other split's file, and two files must not share one.

A domain's module of problems (`SOURCES`) offers ``from_row``, ``from_question``,
``expected_tokens``, ``left_tokens``, an ``EXAMPLE`` row, how many problems it has in ``GENERATED``
unless the user says otherwise, ``generate`` where that is not 0, ``unsolvable`` where it can
tell, and in ``OPTIONS`` the fields of `DomainConfig` that its ``from_row`` takes. That gives None
for a row of another split, which is left out.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from qstar_core.config import DomainConfig
from qstar_core.domains import countdown_problems, gsm8k_problems, mbpp_problems
from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.mdp import Problem
from qstar_core.store import open_store
from qstar_core.store.uri import is_remote

SOURCES: dict[str, ModuleType] = {
    "countdown": countdown_problems,
    "gsm8k": gsm8k_problems,
    "mbpp": mbpp_problems,
}
Options = tuple[tuple[str, str], ...]
GZIP = b"\x1f\x8b"  # how a gzip file begins
BLOCK = 1024 * 1024
MAX_BYTES = 2 * 1024**3
"""Of an unpacked file of problems; some millions of them."""
BROKEN_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


@dataclass(frozen=True, slots=True)
class ProblemFile:
    """A user's file of problems.

    Attributes:
        path: as it was given.
        sha256: of the file.
        problems: in the order of the file, repeated ones once.
        rows: number of the row, from 1, that has a problem first, by the problem's id.
        repeated: rows that repeat the problem of an earlier row.
    """

    path: str
    sha256: str
    problems: tuple[Problem, ...]
    rows: Mapping[str, int]
    repeated: int


def load(path: Path | str, domain: str, split: str, options: Options = ()) -> ProblemFile:
    """Reads a JSONL file, plain or gzip, whose rows are like the ``EXAMPLE`` of the domain.

    Every problem of the file is kept, solvable or not. An ``s3://`` file is read once per process.

    Args:
        path: of the file.
        domain: a key of `SOURCES`.
        split: that the problems are for.
        options: see `options_of`.

    Raises:
        UserError: the file is missing, empty or not UTF-8, or a row is malformed; names the row.
    """
    if is_remote(str(path)):
        content = _remote(str(path), domain)
    elif Path(path).is_file():
        content = Path(path).read_bytes()
    else:
        raise _missing(str(path), domain)
    return _parse(str(path), content, domain, split, options)


@lru_cache(maxsize=4)
def _remote(uri: str, domain: str) -> bytes:
    folder, _, name = uri.rpartition("/")
    store = open_store(folder)
    store.check("domain.train_file or domain.test_file")
    try:
        return store.read(name)
    except FileNotFoundError as error:
        raise _missing(uri, domain) from error


def _missing(path: str, domain: str) -> UserError:
    return UserError(
        f"domain.train_file or domain.test_file: no such file: {path}",
        next_step=f"write one problem per line, for example {SOURCES[domain].EXAMPLE}",
    )


@lru_cache(maxsize=4)
def _parse(path: str, content: bytes, domain: str, split: str, options: Options) -> ProblemFile:
    source = SOURCES[domain]
    problems: list[Problem] = []
    rows: dict[str, int] = {}
    repeated = elsewhere = 0
    for row, text in enumerate(_decode(path, content).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            problem = source.from_row(json.loads(text), split, **dict(options))
            if problem is None:
                elsewhere += 1
                continue
            new = rows.setdefault(problem.id, row) == row
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            step = f"mend row {row}; a right one: {source.EXAMPLE}"
            raise UserError(f"{path}, row {row}: {error}", next_step=step) from error
        if new:
            problems.append(problem)
        else:
            repeated += 1
    if not problems:
        step = f"write one per line, for example {source.EXAMPLE}"
        others = f" of the split {split}; {elsewhere:,} rows are of others" if elsewhere else ""
        raise UserError(f"{path}: no problem in it{others}", next_step=step)
    sha256 = hashlib.sha256(content).hexdigest()
    return ProblemFile(path, sha256, tuple(problems), rows, repeated)


def _decode(path: str, content: bytes) -> str:
    if content.startswith(GZIP):
        try:
            content = _unpacked(path, content)
        except BROKEN_GZIP as error:
            step = f"gzip -t {path}   checks it"
            raise UserError(f"{path}: broken gzip file: {error}", next_step=step) from error
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


def _unpacked(path: str, content: bytes) -> bytes:
    """What a gzip file holds, read in blocks: a small file may hold more than the memory."""
    blocks, size = [], 0
    with gzip.open(io.BytesIO(content)) as source:
        while block := source.read(BLOCK):
            blocks.append(block)
            size += len(block)
            if size > MAX_BYTES:
                raise UserError(
                    f"{path}: more than {MAX_BYTES:,} bytes when it is unpacked",
                    next_step="split it, or take only the problems that the run needs",
                )
    return b"".join(blocks)


def given(domain: DomainConfig, split: str) -> ProblemFile | None:
    """The user's file of a split, if there is one."""
    path = domain.train_file if split == "train" else domain.test_file
    return load(path, domain.name, split, options_of(domain)) if path is not None else None


def options_of(domain: DomainConfig) -> Options:
    """What decides the problem of a row beside the row: fields of the domain, by name."""
    names = getattr(SOURCES[domain.name], "OPTIONS", ())
    return tuple((name, str(getattr(domain, name))) for name in names)


def count(domain: DomainConfig, split: str) -> int:
    """How many problems a split has; 0 where the domain generates none and there is no file."""
    asked = domain.train_problems if split == "train" else domain.test_problems
    file, generated = given(domain, split), int(SOURCES[domain.name].GENERATED[split])
    if file is None:
        return generated if asked is None or not generated else asked
    there = len(file.problems)
    return there if asked is None else min(asked, there)


def left_out(domain: DomainConfig, split: str) -> frozenset[str]:
    """Ids that a split without a file leaves out: all problems of the other split's file."""
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
                next_step=f"remove row {there} of {train.path} or row {here} of {test.path}; or "
                "train on it all the same: qstar run CONFIG --set 'qvm.allow=[leakage]'",
            )


def problems(domain: DomainConfig, split: str, seed: int) -> list[Problem]:
    """The problems of a split: the first ones of its file, else generated."""
    file, wanted = given(domain, split), count(domain, split)
    if file is not None:
        return list(file.problems[:wanted])
    if not wanted:
        return []
    generate = SOURCES[domain.name].generate
    found: list[Problem] = generate(split, wanted, domain.ranges, seed, left_out(domain, split))
    return found


def shape(domain: DomainConfig, split: str, seed: int) -> dict[str, Any]:
    """What decides the problems of a split: count, and the file's content or ranges and seed.

    Generated ones leave out those of the other split's file, so these decide as well.
    """
    found = {"domain": domain.name, "split": split, "count": count(domain, split)}
    file = given(domain, split)
    if file is not None:
        return {**found, "file": file.sha256, **dict(options_of(domain))}
    if not found["count"]:
        return found
    found |= {"seed": seed, "ranges": domain.ranges.rows()}
    return found | leaves_out(domain, split)


def leaves_out(domain: DomainConfig, split: str) -> dict[str, str]:
    """The part of a key that says which problems a split leaves out; empty for none."""
    ids = left_out(domain, split)
    return {"left_out": content_id(sorted(ids))} if ids else {}


def need(domain: DomainConfig, split: str, what: str, otherwise: str = "") -> None:
    """Makes sure that a split has problems.

    Args:
        domain: of the run.
        split: ``"train"`` or ``"test"``.
        what: they are needed for.
        otherwise: what can be done without them.

    Raises:
        UserError: it has none.
    """
    if not count(domain, split):
        raise UserError(
            f"domain.{split}_file: {domain.name} generates no problems, and there is no file of "
            f"them {what}",
            next_step=f"name a JSONL file with rows like {SOURCES[domain.name].EXAMPLE}{otherwise}",
        )


def expected_tokens(domain: DomainConfig, max_new_tokens: int) -> int:
    """Policy tokens that one rollout takes, at most or about."""
    return int(SOURCES[domain.name].expected_tokens(domain, max_new_tokens))


def left_tokens(domain: DomainConfig, max_new_tokens: int) -> tuple[int, list[int]]:
    """Policy tokens that a step takes, and those left of a rollout after each step but the last.

    Returns:
        Both at most or about; of the rollout with the most steps.
    """
    step, left = SOURCES[domain.name].left_tokens(domain, max_new_tokens)
    return int(step), list(left)


def unsolvable(domain: DomainConfig, split: str, problems: Sequence[Problem]) -> int | None:
    """How many of the problems of a user's file have no solution.

    Returns:
        None where nobody can tell, or it takes too long, or the problems are generated.
    """
    count_them = getattr(SOURCES[domain.name], "unsolvable", None)
    if count_them is None or given(domain, split) is None:
        return None
    found: int | None = count_them(problems)
    return found


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
