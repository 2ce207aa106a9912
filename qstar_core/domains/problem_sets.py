"""The problems of a split, of any domain: from what a user names, or generated where that can be.

Whatever they come from, no problem of one split is in the other: generated ones are told apart by
their hash and leave out those of the other split's file, and two files must not share one.

A domain's module of problems (`SOURCES`) offers ``from_row``, ``from_question``,
``expected_tokens``, ``left_tokens``, an ``EXAMPLE`` row, how many problems it has in ``GENERATED``
unless the user says otherwise, ``generate`` where that is not 0, ``MAX_MALFORMED`` where some rows
may be malformed, ``unsolvable`` where it can tell, and in ``OPTIONS`` the fields of `DomainConfig`
that its ``from_row`` takes. That gives None for a row of another split, which is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qstar_core import prompts
from qstar_core.config import DomainConfig
from qstar_core.domains.problem_files import (
    SOURCES,
    Form,
    ProblemFile,
    load,
    part,
    without_held_out,
)
from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.mdp import Problem

__all__ = ["SOURCES", "Form", "ProblemFile", "load"]

NAMED = 20  # malformed rows that are named; all are counted


def form(domain: DomainConfig) -> Form:
    """What decides the problem of a row beside the row: the template and the domain's options.

    Raises:
        UserError: there is no such template.
    """
    prompt = None if domain.prompt is None else prompts.load(domain.prompt, domain.name)
    names = getattr(SOURCES[domain.name], "OPTIONS", ())
    return Form(prompt, tuple((name, str(getattr(domain, name))) for name in names))


def given(domain: DomainConfig, split: str) -> ProblemFile | None:
    """The user's file of a split, if there is one."""
    path = domain.train_file if split == "train" else domain.test_file
    asked = form(domain)
    if domain.test_share is not None and domain.train_file is not None:
        whole = load(domain.train_file, domain.name, "train", asked)
        return part(whole, split, domain.test_share)
    if path is None:
        return None
    file = load(path, domain.name, split, asked)
    if split == "train" and domain.test_file is not None:
        held_out = load(domain.test_file, domain.name, "test", asked)
        return without_held_out(file, held_out, domain.name)
    return file


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
        found |= {"file": file.sha256, **form(domain).rows()}
        found |= {"left_out": file.left_out} if file.left_out else {}
        return found | ({"test_share": domain.test_share} if domain.test_share is not None else {})
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
            found.append(
                f"{file.path}: {_rows(len(file.malformed), 'are', 'is')} left out, {example}"
            )
        if file.repeated:
            said = _rows(file.repeated, "repeat", "repeats")
            found.append(f"{file.path}: {said} an earlier one; used once")
        if used < len(file.problems):
            found.append(
                f"domain.{split}_problems: "
                f"first {used:,} of {len(file.problems):,} rows of {file.path}"
            )
    return found


def _rows(number: int, do: str, does: str) -> str:
    return f"{number:,} rows {do}" if number != 1 else f"1 row {does}"
