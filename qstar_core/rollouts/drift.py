"""How far an engine keeps its samples when the batch around them changes.

An engine that works below float64 draws from distributions whose last bits depend on the batch.
Some of a shard's samples are therefore drawn once more, with the same seeds but by themselves, in
another order and a smaller batch. How many of them come out different is the drift: a measure of
how far a rerun with other shards, batch sizes or workers would give other rows.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from qstar_core.config import RolloutsConfig
from qstar_core.mdp import Problem
from qstar_core.policies import Policy, Sample, SampleRequest
from qstar_core.policies.metered import unmetered
from qstar_core.rollouts.paths import Path, Sampling, request, steps_of

log = logging.getLogger(__name__)

ORDER = ("problem_id", "sample_index", "rollout_id")
"""Columns that put the rows into an order of their own, whatever their shards were."""


def figures(
    table: pa.Table,
    problems: Sequence[Problem],
    policy: Policy,
    config: RolloutsConfig,
    seed: int,
) -> dict[str, Any]:
    """The drift for a shard's figures; a failing measurement loses no finished rollout.

    Returns:
        {"drift": of `measure`}, or {"drift_failed": the error}.
    """
    try:
        return {"drift": measure(table, problems, policy, config, seed)}
    except Exception as error:  # whatever it is, the rows are there
        log.warning("the drift could not be measured: %s", error)
        return {"drift_failed": f"{type(error).__name__}: {error}"}


def measure(
    table: pa.Table,
    problems: Sequence[Problem],
    policy: Policy,
    config: RolloutsConfig,
    seed: int,
) -> dict[str, int]:
    """Draws some rollouts once more and compares their steps.

    Which ones depends on the run seed and on what the table holds. Log-probabilities are not
    compared: they differ in their last digits where the text is the same.

    Args:
        table: rollouts, or a pool of continuations (`qstar_core.rollouts.paths.PATHS`).
        problems: those that the rollouts start from; others may be among them.
        policy: the one that made them.
        config: what they were made with; ``drift_requests`` of them are drawn again.
        seed: of the run.

    Returns:
        {"replayed": samples drawn again, "differ": those with another text or token count}.
    """
    columns = (table[name].to_pylist() for name in ORDER)
    places = list(zip(*columns, strict=True))
    wanted = sorted(range(len(places)), key=places.__getitem__)
    random.Random(f"{seed} {len(wanted)}").shuffle(wanted)
    made = table.take(pa.array(wanted[: config.drift_requests], pa.int64())).to_pylist()
    by_id = {problem.id: problem for problem in problems}
    again = unmetered(policy).sample(
        [_request(path, by_id[path["problem_id"]], config) for path in made]
    )
    differ = sum(_differ(path, drawn) for path, [drawn] in zip(made, again, strict=True))
    return {"replayed": len(made), "differ": differ}


def _request(path: Path, problem: Problem, config: RolloutsConfig) -> SampleRequest:
    """What a path was drawn with."""
    limit = config.max_new_tokens
    sampling = Sampling("", path["policy"], path["temperature"], limit, path["seed"])
    given = steps_of(path, path.get("prefix_steps", 0))
    found = request(problem, given, [path["seed"]], sampling)
    if found is None:
        raise ValueError(f"path {path['rollout_id']} continues what cannot be continued")
    return found


def _differ(path: Path, drawn: Sample) -> bool:
    sampled = path["steps"][path.get("prefix_steps", 0) :]
    before = [(step["text"], step["tokens"]) for step in sampled]
    return before != [(step.text, step.tokens) for step in drawn.steps]
