"""How far an engine keeps its samples when the batch around them changes.

An engine that works below float64 draws from distributions whose last bits depend on the batch.
Some of a shard's samples are therefore drawn once more, with the same seeds but by themselves, in
another order and a smaller batch. How many of them come out different is the drift: a measure of
how far a rerun with other shards, batch sizes or workers would give other rows.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from qstar_core.config import RolloutsConfig
from qstar_core.mdp import Problem
from qstar_core.policies import Policy, Sample
from qstar_core.rollouts.sample import requests_for

log = logging.getLogger(__name__)


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
        table: rollouts, `qstar_core.rollouts.sample.SCHEMA`.
        problems: those that the rollouts start from; others may be among them.
        policy: the one that made them.
        config: what they were made with; ``drift_requests`` of them are drawn again.
        seed: of the run.

    Returns:
        {"replayed": samples drawn again, "differ": those with another text or token count}.
    """
    columns = (table[name].to_pylist() for name in ("problem_id", "sample_index"))
    places = list(zip(*columns, strict=True))
    wanted = sorted(range(len(places)), key=places.__getitem__)
    random.Random(f"{seed} {len(wanted)}").shuffle(wanted)
    wanted = wanted[: config.drift_requests]
    made = table["steps"].take(pa.array(wanted, pa.int64())).to_pylist()
    ids = {places[row][0] for row in wanted}
    chosen = [problem for problem in problems if problem.id in ids]
    asks = requests_for(chosen, config, policy.fingerprint, seed)
    by_id = {problem.id: ask for problem, (_, ask) in zip(chosen, asks, strict=True)}
    alone = []
    for problem_id, index in (places[row] for row in wanted):
        ask = by_id[problem_id]
        alone.append(replace(ask, seeds=(ask.seeds[index],)))
    again = policy.sample(alone)
    differ = sum(_differ(steps, drawn) for steps, [drawn] in zip(made, again, strict=True))
    return {"replayed": len(wanted), "differ": differ}


def _differ(steps: Sequence[Mapping[str, Any]], drawn: Sample) -> bool:
    before = [(step["text"], step["tokens"]) for step in steps]
    return before != [(step.text, step.tokens) for step in drawn.steps]
