"""Evaluates methods with ``algorithm: adaptive``: who chooses, and what came of it on each problem.

A row is that of the search with the settings that were chosen, so its tokens and its tree are
those of that search; the prompt is the one with the instructions.

1. The oracle tries every configuration once and takes the cheapest that is right. It knows the
   answer: it bounds from above what any choice can reach, and by luck of its many samples it is
   above what a perfect choice would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qstar_core.adaptive import baselines
from qstar_core.adaptive.actions import Action, ActionSpace, space_of
from qstar_core.adaptive_stages import section
from qstar_core.config import RunConfig, SearchConfig
from qstar_core.configuring import logged
from qstar_core.configuring.learners import ALONE, LINUCB, chosen_values, load_learner
from qstar_core.configuring.models import Models, load_encoder
from qstar_core.configuring.rewarding import question
from qstar_core.configuring.trials import Progress, Trial, Trials
from qstar_core.evaluation.run import SCHEMA, Tally
from qstar_core.grading import Outcome
from qstar_core.keys import sample_seed
from qstar_core.mdp import Problem
from qstar_core.search.budget import Budget
from qstar_core.search.trace import SearchResult
from qstar_core.store import dataset

LEARNERS = {"policy": "policy", "linucb": LINUCB}


def evaluate_adaptive(
    problems: Sequence[Problem],
    method: SearchConfig,
    models: Models,
    config: RunConfig,
    spec: Mapping[str, Any],
    progress: Progress,
    budget: Budget | None = None,
) -> tuple[pa.Table, dict[str, Any]]:
    """Answers every problem under the configuration that is chosen for it.

    Args:
        problems: held-out problems.
        method: says who chooses.
        models: what the searches ask.
        config: of the run.
        spec: of the shard; its inputs have the data sets adaptive and episodes.
        progress: called with (done, total, unit, note).
        budget: limits per problem; None is those of the section adaptive.

    Returns:
        A table of `qstar_core.evaluation.run.SCHEMA` in the order of the problems, and figures:
        those of a search, and how often each value was chosen.
    """
    space = space_of(section(config))
    trials = Trials(config, space, models, budget)
    if method.choose == "oracle":
        return _oracle(problems, method, trials, progress)
    actions = choose(problems, method, config, spec, space)
    tally = Tally(method, problems, progress)
    asked = [Trial(p, action) for p, action in zip(problems, actions, strict=True)]
    _search(asked, method, trials, tally)
    chosen = chosen_values(
        space, np.array(actions, dtype=np.int64).reshape(len(actions), len(space.factors))
    )
    return tally.rows.table(), {**tally.figures(), "chosen": chosen}


def choose(
    problems: Sequence[Problem],
    method: SearchConfig,
    config: RunConfig,
    spec: Mapping[str, Any],
    space: ActionSpace,
) -> list[Action]:
    """The action for each problem; none of them depends on the others."""
    if not problems:
        return []
    if method.choose == "random":
        seeds = [sample_seed(config.seed, f"random {p.id}", 0) for p in problems]
        drawn = baselines.random_actions(space, np.array(seeds, dtype=np.uint64))
        return [tuple(map(int, action)) for action in drawn.actions]
    inputs = spec["inputs"]
    if method.choose == "fixed":
        table = logged.read_logged(inputs["episodes"])
        best = logged.best_fixed(space, table, section(config).price_per_token)
        return [best] * len(problems)
    name = LEARNERS.get(method.choose, f"{ALONE}{method.factor}")
    learner = load_learner(name, Path(dataset.local_folder(inputs["adaptive"])))
    encoder = load_encoder(dict(spec), config)
    found = learner.best(encoder.embed([question(problem) for problem in problems]))
    # one that learns a factor alone numbers its values otherwise
    return [space.action(learner.space.configuration(action)) for action in found.tolist()]


def _search(asked: Sequence[Trial], method: SearchConfig, trials: Trials, tally: Tally) -> None:
    """Makes the trials; a row has the algorithm that was chosen, under the name of the method."""

    def take(place: int, result: SearchResult) -> None:
        chosen = trials.rules(asked[place]).config
        tally.take(place, result, chosen.model_copy(update={"name": method.name}))

    trials.search(asked, take, tally.tell)


def _oracle(
    problems: Sequence[Problem], method: SearchConfig, trials: Trials, progress: Progress
) -> tuple[pa.Table, dict[str, Any]]:
    """Every configuration on every problem; the cheapest right one of each, else the cheapest."""
    actions = list(trials.space.all_actions())
    asked = [Trial(problem, action) for problem in problems for action in actions]

    def tell(done: int, total: int, unit: str, note: str) -> None:
        times = f"{len(actions)} trials a problem"
        progress(done // len(actions), total // len(actions), unit, f"{note}, {times}")

    tally = Tally(method, [trial.problem for trial in asked], tell)
    _search(asked, method, trials, tally)
    rows = tally.rows.table()
    wrong = [outcome != Outcome.CORRECT for outcome in rows["outcome"].to_pylist()]
    cost = rows["policy_tokens"].to_pylist()
    kept, taken = [], []
    for place in range(len(problems)):
        tried = range(place * len(actions), (place + 1) * len(actions))
        kept.append(min(tried, key=lambda k: (wrong[k], cost[k], k)))
        taken.append(actions[kept[-1] % len(actions)])
    figures = {**tally.figures(), "problems": len(problems)}
    if not kept:
        return SCHEMA.empty_table(), figures
    chosen = chosen_values(trials.space, np.array(taken, dtype=np.int64))
    return rows.take(pa.array(kept)).combine_chunks(), {**figures, "chosen": chosen}
