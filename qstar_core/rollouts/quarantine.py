"""A problem that the engine cannot serve is set aside with its error, and the night goes on.

An error of the engine says nothing about which request caused it, so the shard is halved until
the request stands alone. One that ends the worker (the kernel's out-of-memory killer, a crash in
native code, a hang) can only be found from outside: the parent asks a new worker to be *careful*,
to take one problem at a time and to write its id into a mark file before it starts. The problem
at which workers keep dying is left out by the parent, with the error it saw.

A data set that lacks problems says so: they are listed in its manifest with prompt and error.
More than ``rollouts.max_quarantined`` of a shard are no poison but a broken engine; then the shard
fails as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import pyarrow as pa

from qstar_core.errors import EngineUnavailable, RequestFailed, UserError
from qstar_core.mdp import Problem

SampleTable = Callable[[Sequence[Problem]], pa.Table]
ERROR_CHARACTERS = 500  # kept of an error's text


class Quarantined(TypedDict):
    """A problem without rollouts."""

    problem_id: str
    prompt: str
    error: str


class Hints(TypedDict, total=False):
    """What the parent knows of a shard whose workers died.

    Attributes:
        mark: file that is to hold the id of the problem being sampled.
        careful: take one problem at a time.
        suspect: id of a problem to take first and alone.
        quarantined: ids of problems to leave out, with the error.
    """

    mark: str
    careful: bool
    suspect: str
    quarantined: dict[str, str]


def sample_shard(
    problems: Sequence[Problem],
    sample: SampleTable,
    max_share: float,
    retries: int,
    hints: Hints | None = None,
) -> tuple[list[pa.Table], list[Quarantined]]:
    """Samples all problems of a shard but those that cannot be served.

    Args:
        problems: of the shard.
        sample: makes the rows of some problems; must give the same rows however they are grouped.
        max_share: share of the problems that may be quarantined; one always may.
        retries: of a problem that fails alone, unless the error is the user's to mend.
        hints: see `Hints`.

    Returns:
        Tables whose rows follow the order of the problems, and the quarantined problems.

    Raises:
        UserError: too many fail, and the last one's error is the user's to mend.
        RuntimeError: too many fail.
    """
    hints = hints or {}
    aside = hints.get("quarantined", {})
    isolation = Isolation(sample, retries, max(1, int(max_share * len(problems))))
    for problem in problems:
        if problem.id in aside:
            isolation.set_aside(problem, RuntimeError(aside[problem.id]))
    rest = [p for p in problems if p.id not in aside]
    mark = Path(hints["mark"]) if "mark" in hints else None
    if mark is not None and hints.get("careful"):
        parts = _one_by_one(rest, isolation, mark, hints.get("suspect"))
    else:
        parts = isolation.run(rest)
    return parts, isolation.quarantined


def _one_by_one(
    problems: Sequence[Problem], isolation: Isolation, mark: Path, suspect: str | None
) -> list[pa.Table]:
    """Takes the suspect first, then the others; the mark says where it stands."""
    order = sorted(problems, key=lambda p: p.id != suspect)
    made: dict[str, list[pa.Table]] = {}
    for problem in order:
        mark.write_text(problem.id, encoding="utf-8")
        made[problem.id] = isolation.run([problem])
    mark.write_text("", encoding="utf-8")
    return [part for problem in problems for part in made[problem.id]]


class Isolation:
    """Halves a failing group of problems until the failing one stands alone."""

    def __init__(self, sample: SampleTable, retries: int, limit: int) -> None:
        self.quarantined: list[Quarantined] = []
        self._sample = sample
        self._retries = retries
        self._limit = limit

    def run(self, problems: Sequence[Problem]) -> list[pa.Table]:
        """The rows of the problems that can be served."""
        if not problems:
            return []
        try:
            return [self._sample(problems)]
        except (OSError, EngineUnavailable):  # no problem's fault
            raise
        except Exception as error:  # an engine may raise anything
            if len(problems) == 1:
                return self._alone(problems[0], error)
        middle = len(problems) // 2
        return self.run(problems[:middle]) + self.run(problems[middle:])

    def _alone(self, problem: Problem, error: Exception) -> list[pa.Table]:
        hopeless = isinstance(error, UserError) and not isinstance(error, RequestFailed)
        for _ in range(0 if hopeless else self._retries):
            try:
                return [self._sample([problem])]
            except (OSError, EngineUnavailable):
                raise
            except Exception as again:  # the last error is the one to show
                error = again
        self.set_aside(problem, error)
        return []

    def set_aside(self, problem: Problem, error: Exception) -> None:
        """Notes a problem as quarantined; fails when there are too many."""
        name = "" if isinstance(error, UserError) or not str(error) else f"{type(error).__name__}: "
        text = (name + (str(error) or type(error).__name__))[:ERROR_CHARACTERS]
        self.quarantined.append({"problem_id": problem.id, "prompt": problem.prompt, "error": text})
        if len(self.quarantined) <= self._limit:
            return
        what = f"more than {self._limit} problems of the shard cannot be sampled; the last: {text}"
        if isinstance(error, UserError):
            step = f"{error.next_step}, or raise rollouts.max_quarantined"
            raise UserError(what, safe=error.safe, next_step=step) from error
        raise RuntimeError(what) from error
