"""Reading problems from what a user names, as `qstar_core.domains.problem_rows` reads its rows.

A domain's module of problems (`SOURCES`) turns a row into a problem.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from qstar_core.domains import (
    DOMAINS,
    choice_problems,
    countdown_problems,
    gsm8k_problems,
    math_problems,
    mbpp_problems,
    problem_rows,
)
from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.mdp import Problem
from qstar_core.prompts import Template
from qstar_core.store import open_store
from qstar_core.store.uri import is_remote

SOURCES: dict[str, ModuleType] = {
    "choice": choice_problems,
    "countdown": countdown_problems,
    "gsm8k": gsm8k_problems,
    "math": math_problems,
    "mbpp": mbpp_problems,
}
MALFORMED = (ValueError, TypeError, KeyError, RecursionError)


@dataclass(frozen=True, slots=True)
class Form:
    """What decides the problem of a row beside the row.

    Attributes:
        prompt: template of the prompts; None is the domain's own prompt.
        options: fields of the domain that its ``from_row`` takes, with their values.
    """

    prompt: Template | None = None
    options: tuple[tuple[str, str], ...] = ()

    def rows(self) -> dict[str, Any]:
        """What a run key has of it."""
        asked = {"prompt": self.prompt.identity} if self.prompt is not None else {}
        return {**asked, **dict(self.options)}


OWN = Form()
"""The domain's own prompt and options."""


@dataclass(frozen=True, slots=True)
class ProblemFile:
    """A user's file of problems, or a folder or hub data set of them.

    Attributes:
        path: as it was given.
        sha256: of the file, or of the rows of what is no single file.
        problems: in the order of the file, repeated ones once.
        rows: number of the row, from 1, that has a problem first, by the problem's id.
        repeated: rows that repeat the problem of an earlier row.
        malformed: number and fault of each row that is left out.
        left_out: says which problems are left out because they are held out; empty for none.
        places: of the problems by id, in [0, 1): a hash of the problem as its domain asks it when
            nothing is said.
    """

    path: str
    sha256: str
    problems: tuple[Problem, ...]
    rows: Mapping[str, int]
    repeated: int
    malformed: tuple[tuple[int, str], ...] = ()
    left_out: str = ""
    places: Mapping[str, float] = field(default_factory=dict)


def load(path: Path | str, domain: str, split: str, form: Form = OWN) -> ProblemFile:
    """Reads problems; `qstar_core.domains.problem_rows` says from what.

    Every problem is kept, solvable or not. A malformed row ends the reading, but in a domain that
    says in ``MAX_MALFORMED`` which share of the rows may be: then it is left out and counted, one
    always may. An ``s3://`` file is read once per process.

    Args:
        path: of a file or a folder, or the name of a data set on a hub.
        domain: a key of `SOURCES`.
        split: that the problems are for.
        form: how the domain asks them.

    Raises:
        UserError: there is no such thing, it is empty or not UTF-8, or (too many) rows are
            malformed; names the row.
    """
    given = str(path)
    if is_remote(given):
        return _parse(given, _remote(given, domain), domain, split, form)
    if Path(given).is_file():
        return _parse(given, Path(given).read_bytes(), domain, split, form)
    if Path(given).is_dir():
        rows = problem_rows.of_folder(given, split)
    elif problem_rows.is_hub_name(given):
        rows = problem_rows.of_hub(given, split)
    else:
        raise _missing(given, domain)
    return _of_rows(given, rows, domain, split, form)


_READ: dict[tuple[str, str, str, Form], tuple[list[problem_rows.Row], ProblemFile]] = {}


def _of_rows(
    given: str, rows: list[problem_rows.Row], domain: str, split: str, form: Form
) -> ProblemFile:
    """The problems of a folder or hub data set, read anew only when its rows were."""
    key = (given, domain, split, form)
    known, file = _READ.get(key, (None, None))
    if file is None or known is not rows:
        file = _collect(given, rows, problem_rows.digest(rows), domain, split, form)
        _READ[key] = (rows, file)
    return file


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
def _parse(path: str, content: bytes, domain: str, split: str, form: Form) -> ProblemFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return _collect(path, problem_rows.of_file(path, content), sha256, domain, split, form)


def _collect(
    path: str,
    found: Iterable[problem_rows.Row],
    sha256: str,
    domain: str,
    split: str,
    form: Form,
) -> ProblemFile:
    source = SOURCES[domain]
    problems: list[Problem] = []
    rows: dict[str, int] = {}
    places: dict[str, float] = {}
    malformed: list[tuple[int, str]] = []
    seen = repeated = elsewhere = 0
    for number, row in found:
        seen += 1
        try:
            problem, place = _read(source, row, split, form)
        except MALFORMED as error:
            malformed.append((number, str(error.args[0] if error.args else error)))
            continue
        if problem is None:
            elsewhere += 1
            continue
        if rows.setdefault(problem.id, number) == number:
            problems.append(problem)
            places[problem.id] = place
        else:
            repeated += 1
    _check_malformed(path, malformed, seen, domain)
    if not problems:
        step = f"write one per line, for example {source.EXAMPLE}"
        others = f" of the split {split}; {elsewhere:,} rows are of others" if elsewhere else ""
        raise UserError(f"{path}: no problem in it{others}", next_step=step)
    return ProblemFile(
        path, sha256, tuple(problems), rows, repeated, tuple(malformed), places=places
    )


def _read(source: ModuleType, row: object, split: str, form: Form) -> tuple[Problem | None, float]:
    """The problem of a row, None where it is of another split, and its place in [0, 1)."""
    read = json.loads(row) if isinstance(row, str) else row
    plain: Problem | None = source.from_row(read, split)
    if plain is None:
        return None, 0.0
    place = int(plain.id[:8], 16) / 16**8
    problem = source.from_row(read, split, **dict(form.options)) if form.options else plain
    if form.prompt is not None:
        problem = replace(problem, prompt=form.prompt.render(_fields(problem)))
    return problem, place


def _fields(problem: Problem) -> dict[str, Any]:
    """What a template of prompts may use."""
    domain = DOMAINS[problem.domain]
    offered = getattr(domain, "prompt_fields", None)
    return dict(offered(problem)) if offered else {"question": domain.question(problem)}


def _check_malformed(
    path: str, malformed: Sequence[tuple[int, str]], seen: int, domain: str
) -> None:
    """Refuses more malformed rows than the domain puts up with."""
    share = float(getattr(SOURCES[domain], "MAX_MALFORMED", 0.0))
    limit = max(1, int(share * seen)) if share else 0
    if len(malformed) <= limit and len(malformed) < max(seen, 1):
        return
    row, fault = malformed[0]
    more = f"; {len(malformed):,} of {seen:,} rows are malformed" if len(malformed) > 1 else ""
    step = f"mend row {row}; a right one: {SOURCES[domain].EXAMPLE}"
    raise UserError(f"{path}, row {row}: {fault}{more}", next_step=step)


def part(file: ProblemFile, split: str, share: float) -> ProblemFile:
    """The problems of a split of a file that has none: some share of them, by hash, is held out."""
    kept = {key for key, place in file.places.items() if (place < share) is (split == "test")}
    return replace(
        file,
        problems=tuple(replace(p, split=split) for p in file.problems if p.id in kept),
        rows={key: row for key, row in file.rows.items() if key in kept},
    )


def without_held_out(train: ProblemFile, test: ProblemFile, domain: str) -> ProblemFile:
    """Training problems without those that are test problems too, where a data set has a few.

    MATH has one. They are among the rows that are left out. More than the domain puts up with stay
    in, and `check_disjoint` refuses them.
    """
    shared = train.rows.keys() & test.rows.keys()
    share = float(getattr(SOURCES[domain], "MAX_MALFORMED", 0.0))
    if not shared or len(shared) > share * len(train.rows):
        return train
    fault = "the problem is held out: it is row {} of " + test.path
    malformed = [(train.rows[key], fault.format(test.rows[key])) for key in shared]
    return replace(
        train,
        problems=tuple(problem for problem in train.problems if problem.id not in shared),
        rows={key: row for key, row in train.rows.items() if key not in shared},
        malformed=tuple(sorted([*train.malformed, *malformed])),
        left_out=content_id(sorted(shared)),
    )
