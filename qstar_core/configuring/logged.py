"""Episodes that were logged at random: the best fixed configuration, and a table to look up in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from qstar_core.adaptive import baselines
from qstar_core.adaptive.actions import Action, ActionSpace, Drawn
from qstar_core.adaptive.episodes import SCHEMA, Batch, Result, actions_of, results_of
from qstar_core.adaptive.off_policy import deterministic, fixed, from_table, snips
from qstar_core.adaptive.policy import taken_of
from qstar_core.config_adaptive import AdaptiveConfig
from qstar_core.configuring.learners import Course
from qstar_core.errors import UserError
from qstar_core.keys import content_id, sample_seed
from qstar_core.store import dataset

UNIFORM = "uniform"
"""What the episodes call the policy that drew their actions."""
TRIES = 10
"""Episodes per configuration from which on its own mean is taken for its worth."""

Actions = npt.NDArray[np.int64]


def draw(
    space: ActionSpace, config: AdaptiveConfig, ids: Sequence[str], first: int, seed: int
) -> Batch:
    """The actions that are logged for some questions; every configuration, or random ones.

    Args:
        space: of the configurations.
        config: how many.
        ids: of the questions.
        first: place of the first of them among all training questions.
        seed: of the run.
    """
    each = per_question(config, space.size)
    rows = np.repeat(np.arange(len(ids)), each)
    asked = tuple(ids[row] for row in rows.tolist())
    places = zip(asked, np.tile(np.arange(each), len(ids)).tolist(), strict=True)
    seeds = np.array(
        [sample_seed(seed, content_id(UNIFORM, q), k) for q, k in places], dtype=np.uint64
    )
    if config.logged == "all":
        actions = np.tile(space.numbered(np.arange(space.size)), (len(ids), 1))
        propensities = taken_of(baselines.uniform(space, len(actions)), actions)
        drawn = Drawn(actions, propensities)
    else:
        drawn = baselines.random_actions(space, seeds)
    return Batch(first * each, asked, rows, seeds, None, drawn, UNIFORM)


def per_question(config: AdaptiveConfig, size: int) -> int:
    """Logged episodes of each question."""
    return size if config.logged == "all" else config.logged


def read_logged(uri: str) -> pa.Table:
    """All logged episodes of a run."""
    tables = [pq.read_table(file) for file in dataset.data_files(uri)]
    return pa.concat_tables([SCHEMA.empty_table(), *(t.cast(SCHEMA) for t in tables)])


def best_fixed(space: ActionSpace, table: pa.Table, price: float) -> Action:
    """The single configuration that was worth most on the training questions.

    Where each was tried often enough it is the one with the largest mean, else the best value of
    each factor by itself.

    Args:
        space: of the configurations.
        table: the logged episodes.
        price: of a token, in units of reward.

    Raises:
        UserError: no episode has a reward.
    """
    logged, rows = from_table(table, price)
    numbers = space.number(logged.actions)
    count = np.bincount(numbers, minlength=space.size)
    if len(numbers) >= TRIES * space.size and count.min() > 0:
        means = np.bincount(numbers, weights=logged.rewards, minlength=space.size) / count
        return tuple(int(k) for k in space.numbered([int(means.argmax())])[0])
    propensities = np.array(table.take(pa.array(rows))["propensities"].to_pylist())
    return baselines.by_factors(space, logged.actions, propensities, logged.rewards)


def estimates(
    space: ActionSpace, table: pa.Table, price: float, chosen: dict[str, dict[str, Action]]
) -> list[dict[str, Any]]:
    """What policies would have earned on the training questions (SNIPS), by name.

    Args:
        space: of the configurations.
        table: the logged episodes.
        price: of a token, in units of reward.
        chosen: for each policy the action that it takes on each question.

    Returns:
        Rows policy, utility, low, high (95 %), ess and trusted, that of uniform choice first; None
        where nothing is known.
    """
    logged, _ = from_table(table, price)
    targets = {"random": baselines.uniform(space, len(logged.question_ids))}
    best = best_fixed(space, table, price)
    targets["fixed"] = fixed(space, best, len(logged.question_ids))
    for name, actions in chosen.items():
        taken = np.array([actions[question] for question in logged.question_ids], dtype=np.int64)
        targets[name] = deterministic(space, taken)
    rows = []
    for name, target in targets.items():
        found = snips(logged, target)
        numbers = {"utility": found.value, "low": found.low, "high": found.high}
        known = {k: round(v, 4) if np.isfinite(v) else None for k, v in numbers.items()}
        rows.append({"policy": name, **known, "ess": round(found.ess, 1), "trusted": found.trusted})
    return rows


def judged(
    space: ActionSpace,
    table: pa.Table,
    price: float,
    best: Action,
    course: Course,
    actions: Actions,
) -> dict[str, Any]:
    """Figures of a learner by the logged episodes, and the best fixed configuration.

    Args:
        space: of the logged episodes.
        table: these.
        price: of a token, in units of reward.
        best: the best fixed configuration.
        course: the training.
        actions: what the learner takes on each question, [questions, factors], in its own space.
    """
    configurations = (course.space.configuration(action) for action in actions.tolist())
    taken = dict(zip(course.questions.ids, map(space.action, configurations), strict=True))
    rows = estimates(space, table, price, {course.name: taken})
    return {"estimates": rows, "best_fixed": space.configuration(best)}


class Lookup:
    """Answers episodes from a table in which every configuration was tried on every question.

    Args:
        space: of the configurations; may be one with fewer values than that of the table.
        table: the logged episodes.
        logged_space: that of the table.
    """

    def __init__(self, space: ActionSpace, table: pa.Table, logged_space: ActionSpace) -> None:
        self.space = space
        numbers = logged_space.number(actions_of(table)).tolist()
        pairs = zip(table["question_id"].to_pylist(), numbers, strict=True)
        self._known: dict[tuple[str, int], Result] = dict(
            zip(pairs, results_of(table), strict=True)
        )
        own = [logged_space.action(space.configuration(action)) for action in space.all_actions()]
        self._logged: Actions = logged_space.number(own)  # by the number of an action of the space

    def __call__(self, batch: Batch) -> list[Result]:
        """The result of each episode.

        Raises:
            UserError: one was not logged.
        """
        found = []
        numbers = self.space.number(batch.drawn.actions)
        logged = self._logged[numbers].tolist()
        for question, number, own in zip(batch.question_ids, logged, numbers.tolist(), strict=True):
            if (question, number) not in self._known:
                values = self.space.configuration(self.space.numbered([own])[0].tolist())
                raise UserError(
                    f"the configuration {values} was not logged for question {question}",
                    next_step="set adaptive.logged to all, and run again",
                )
            found.append(self._known[question, number])
        return found
