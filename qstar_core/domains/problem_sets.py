"""The problems of a split, of any domain: from a user's JSONL file, or generated where that can be.

Whatever they come from, no problem of one split is in the other: generated ones are told apart by
their hash and leave out those of the other split's file, and two files must not share one.

A domain's module of problems (`SOURCES`) offers ``from_row``, ``from_question``,
``expected_tokens``, ``left_tokens``, an ``EXAMPLE`` row, how many problems it has in ``GENERATED``
unless the user says otherwise, ``generate`` where that is not 0, and ``unsolvable`` where it can
tell.
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

from qstar_core import prompts
from qstar_core.config import DomainConfig
from qstar_core.domains import (
    DOMAINS,
    choice_problems,
    countdown_problems,
    gsm8k_problems,
    math_problems,
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
}
NAMED = 20  # malformed rows that are named; all are counted
MALFORMED = (ValueError, TypeError, KeyError, RecursionError)


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
        places: of the problems by id, in [0, 1): a hash of the problem as its own prompt asks it.
    """

    path: str
    sha256: str
    problems: tuple[Problem, ...]
    rows: Mapping[str, int]
    repeated: int
    malformed: tuple[tuple[int, str], ...] = ()
    left_out: str = ""
    places: Mapping[str, float] = field(default_factory=dict)


def load(path: Path | str, domain: str, split: str, prompt: Template | None = None) -> ProblemFile:
    """Reads problems; `qstar_core.domains.problem_rows` says from what.

    Every problem is kept, solvable or not. A malformed row ends the reading, but in a domain that
    says in ``MAX_MALFORMED`` which share of the rows may be: then it is left out and counted, one
    always may. An ``s3://`` file is read once per process.

    Args:
        path: of a file or a folder, or the name of a data set on a hub.
        domain: a key of `SOURCES`.
        split: that the problems are for.
        prompt: template of their prompts; None is the domain's own prompt.

    Raises:
        UserError: there is no such thing, it is empty or not UTF-8, or (too many) rows are
            malformed; names the row.
    """
    given = str(path)
    if is_remote(given):
        return _parse(given, _remote(given, domain), domain, split, prompt)
    if Path(given).is_file():
        return _parse(given, Path(given).read_bytes(), domain, split, prompt)
    if Path(given).is_dir():
        rows = problem_rows.of_folder(given, split)
    elif problem_rows.is_hub_name(given):
        rows = problem_rows.of_hub(given, split)
    else:
        raise _missing(given, domain)
    return _collect(given, rows, problem_rows.digest(rows), domain, split, prompt)


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
def _parse(
    path: str, content: bytes, domain: str, split: str, prompt: Template | None
) -> ProblemFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return _collect(path, problem_rows.of_file(path, content), sha256, domain, split, prompt)


def _collect(
    path: str,
    found: Iterable[problem_rows.Row],
    sha256: str,
    domain: str,
    split: str,
    prompt: Template | None,
) -> ProblemFile:
    source = SOURCES[domain]
    problems: list[Problem] = []
    rows: dict[str, int] = {}
    places: dict[str, float] = {}
    malformed: list[tuple[int, str]] = []
    seen = repeated = 0
    for number, row in found:
        seen += 1
        try:
            read = json.loads(row) if isinstance(row, str) else row
            problem = source.from_row(read, split)
            place = int(problem.id[:8], 16) / 16**8
            if prompt is not None:
                problem = replace(problem, prompt=prompt.render(_fields(problem)))
            new = rows.setdefault(problem.id, number) == number
        except MALFORMED as error:
            malformed.append((number, str(error.args[0] if error.args else error)))
            continue
        if new:
            problems.append(problem)
            places[problem.id] = place
        else:
            repeated += 1
    _check_malformed(path, malformed, seen, domain)
    if not problems:
        step = f"write one per line, for example {source.EXAMPLE}"
        raise UserError(f"{path}: no problem in it", next_step=step)
    return ProblemFile(
        path, sha256, tuple(problems), rows, repeated, tuple(malformed), places=places
    )


def _fields(problem: Problem) -> dict[str, Any]:
    """What a template of prompts may use."""
    domain = DOMAINS[problem.domain]
    offered = getattr(domain, "prompt_fields", None)
    return dict(offered(problem)) if offered else {"question": domain.question(problem)}


def template(domain: DomainConfig) -> Template | None:
    """The template of a domain's prompts; None for its own prompt.

    Raises:
        UserError: there is no such template.
    """
    return None if domain.prompt is None else prompts.load(domain.prompt, domain.name)


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


def given(domain: DomainConfig, split: str) -> ProblemFile | None:
    """The user's file of a split, if there is one."""
    path = domain.train_file if split == "train" else domain.test_file
    prompt = template(domain)
    if domain.test_share is not None and domain.train_file is not None:
        return _part(load(domain.train_file, domain.name, split, prompt), split, domain.test_share)
    if path is None:
        return None
    file = load(path, domain.name, split, prompt)
    if split == "train" and domain.test_file is not None:
        return _held_out(file, load(domain.test_file, domain.name, "test", prompt), domain.name)
    return file


def _part(file: ProblemFile, split: str, share: float) -> ProblemFile:
    """The problems of a split of a file that has none: some share of them, by hash, is held out."""
    kept = {key for key, place in file.places.items() if (place < share) is (split == "test")}
    return replace(
        file,
        problems=tuple(problem for problem in file.problems if problem.id in kept),
        rows={key: row for key, row in file.rows.items() if key in kept},
    )


def _held_out(train: ProblemFile, test: ProblemFile, domain: str) -> ProblemFile:
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
        found |= {"file": file.sha256}
        found |= {"left_out": file.left_out} if file.left_out else {}
        found |= {"test_share": domain.test_share} if domain.test_share is not None else {}
        prompt = template(domain)
        return found | ({"prompt": prompt.identity} if prompt is not None else {})
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


def malformed(domain: DomainConfig, split: str) -> dict[str, Any]:
    """Figures on the malformed rows of a split: how many, and the first of them; empty for none."""
    file = given(domain, split)
    if file is None or not file.malformed:
        return {}
    named = [{"row": row, "reason": fault} for row, fault in file.malformed[:NAMED]]
    return {f"malformed_{split}": {"rows": len(file.malformed), "named": named}}


def notes(domain: DomainConfig) -> list[str]:
    """Which rows of the users' files are not used, one line each."""
    found = []
    for split in ("train", "test"):
        file, used = given(domain, split), count(domain, split)
        if file is None:
            continue
        if file.malformed:
            row, fault = file.malformed[0]
            example = f"for example row {row}: {fault}"
            found.append(f"{file.path}: {len(file.malformed):,} rows are left out, {example}")
        if file.repeated:
            found.append(f"{file.path}: {file.repeated:,} rows repeat an earlier one; used once")
        if used < len(file.problems):
            found.append(
                f"domain.{split}_problems: "
                f"first {used:,} of {len(file.problems):,} rows of {file.path}"
            )
    return found
