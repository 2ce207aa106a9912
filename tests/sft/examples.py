"""Solved and unsolved plays of small countdown problems, and a run of them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from qstar_core.config import CountdownRanges, RunConfig
from qstar_core.domains import countdown, countdown_problems
from qstar_core.mdp import Problem
from tests.audit.examples import write_run
from tests.models import tiny_policy

RANGES = CountdownRanges(numbers=(3,), max_number=6, min_target=1, max_target=12)


@lru_cache(maxsize=4)
def problems(count: int) -> tuple[Problem, ...]:
    """Training problems of three numbers."""
    return tuple(countdown_problems.generate("train", count, RANGES, seed=0))


def plays(problem: Problem, solved: bool, count: int) -> list[list[str]]:
    """Different plays of a problem that all reach its target, or all miss it."""
    found: list[list[str]] = []
    numbers, target = countdown.start(problem)

    def go(rest: countdown.Numbers, lines: list[str]) -> None:
        if len(rest) == 1:
            if (rest[0] == target) == solved and len(found) < count:
                found.append(lines)
            return
        for operator, left, right, after in countdown.moves(rest):
            end = "\n" if len(after) > 1 else ""
            text = countdown.line(operator, left, right, after, target) + end
            go(after, [*lines, text])

    go(numbers, [])
    return found


def run_of(
    out: Path, count: int = 12, test: tuple[Problem, ...] = (), **sft: Any
) -> tuple[dict[str, Any], RunConfig]:
    """A shard specification of the stage sft over published problems and rollouts, its config.

    Every third problem is not solved; the others have two solutions, one of them twice.
    """
    made = {}
    for number, problem in enumerate(problems(count)):
        won, lost = plays(problem, True, 2), plays(problem, False, 2)
        made[problem] = lost if number % 3 == 2 else [*won, won[0], *lost]
    labels = write_run(out, made, test=test)
    inputs = {name: labels.replace("/labels/", f"/{name}/") for name in ("problems", "rollouts")}
    spec = {"uri": str(out / "sft" / "key"), "shard": "model", "inputs": inputs}
    small = {"min_problems": 1, "bf16": False, "batch_size": 4, "learning_rate": 1e-3, **sft}
    given = {"policy": {"path": str(tiny_policy())}, "sft": small}
    return spec, RunConfig.model_validate(given)
