"""Learners of one table of logged episodes: several seeds, few or many training questions.

Every configuration was tried on every question, of the training and of the held-out ones, so
nothing is sampled here. A seed decides which training questions there are, their order, and the
first weights; the held-out questions and their outcomes are the same for all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qstar_core.adaptive.actions import ActionSpace
from qstar_core.adaptive.episodes import actions_of
from qstar_core.adaptive.training import Questions
from qstar_core.config_adaptive import AdaptiveConfig
from qstar_core.configuring import learners, logged
from qstar_core.keys import sample_seed

FIXED, ACCURATE = "fixed", "accurate"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tried:
    """Questions on which every configuration was tried.

    Attributes:
        questions: with their embeddings; in any order.
        table: of episodes, each configuration once or more on each of the questions.
    """

    questions: Questions
    table: pa.Table

    def means(self, space: ActionSpace, column: str = "reward") -> Floats:
        """Mean reward or tokens, [questions, configurations]; an unknown one counts as 0."""
        place = {question: k for k, question in enumerate(self.questions.ids)}
        rows = np.array([place[q] for q in self.table["question_id"].to_pylist()], dtype=np.int64)
        numbers = space.number(actions_of(self.table))
        worth = self.table[column].fill_null(0).to_numpy().astype(np.float64)
        total, count = np.zeros((2, len(place), space.size))
        np.add.at(total, (rows, numbers), worth)
        np.add.at(count, (rows, numbers), 1.0)
        return np.asarray(total / np.maximum(count, 1.0))

    def some(self, count: int, seed: int) -> Tried:
        """The first so many questions in a seeded random order, with their episodes."""
        order = np.random.default_rng(sample_seed(seed, "questions", 0))
        kept = np.sort(order.permutation(len(self.questions.ids))[:count])
        ids = tuple(self.questions.ids[k] for k in kept)
        rows = pc.is_in(self.table["question_id"], value_set=pa.array(ids))
        return Tried(Questions(ids, self.questions.embeddings[kept]), self.table.filter(rows))


def choices(
    train: Tried,
    held_out: Floats,
    space: ActionSpace,
    config: AdaptiveConfig,
    seed: int,
    names: Sequence[str],
) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """What learners take on held-out questions, as numbers of configurations.

    Args:
        train: what they learn from.
        held_out: embeddings, [questions, width].
        space: of the configurations.
        config: how they learn.
        seed: of order and weights.
        names: ``policy``, ``only-FACTOR``, ``linucb``; ``fixed``, the best fixed configuration at
            the price of the tokens; ``accurate``, that where tokens cost nothing.

    Yields:
        Name, and the number of the configuration taken on each question.
    """
    best = logged.best_fixed(space, train.table, config.price_per_token)
    for name in names:
        if name in (FIXED, ACCURATE):
            taken_always = best if name == FIXED else logged.best_fixed(space, train.table, 0.0)
            yield name, np.repeat(space.number([taken_always]), len(held_out))
            continue
        own = learners.space_for(name, space, best)
        with tempfile.TemporaryDirectory() as scratch:
            folder, kept = Path(scratch, "learner"), Path(scratch, "kept")
            folder.mkdir()
            course = learners.Course(name, own, train.questions.sorted(), config, seed, kept)
            learners.learn(course, logged.Lookup(own, train.table, space), folder, _quiet)
            learner = learners.load_learner(name, folder)
        taken = [own.configuration(action) for action in learner.best(held_out).tolist()]
        yield name, space.number([space.action(values) for values in taken])


def by_value(rewards: Floats, space: ActionSpace) -> list[dict[str, Any]]:
    """What each value of each factor does, the others as at the best configuration.

    Args:
        rewards: [questions, configurations].
        space: of the configurations.

    Returns:
        Rows factor, value, alone (the mean with the other factors at their best fixed values),
        mean (over all values of the others) and best_for (share of the questions on which no other
        value of the factor is better at its best, and one is worse).
    """
    table = rewards.reshape(len(rewards), *space.widths)
    best = space.numbered([int(rewards.mean(axis=0).argmax())])[0]
    rows = []
    for place, factor in enumerate(space.factors):
        others = tuple(k + 1 for k in range(len(space.widths)) if k != place)
        reached = table.max(axis=others)
        top, low = reached.max(axis=1, keepdims=True), reached.min(axis=1, keepdims=True)
        best_for = ((reached == top) & (low < top)).mean(axis=0)
        for k, value in enumerate(factor.values):
            at = [*best.tolist()]
            at[place] = k
            alone = table[(slice(None), *at)].mean()
            mean = np.take(table, k, axis=place + 1).mean()
            figures = {"alone": alone, "mean": mean, "best_for": best_for[k]}
            told = {name: round(float(x), 4) for name, x in figures.items()}
            rows.append({"factor": factor.name, "value": value, **told})
    return rows


def _quiet(*_: object) -> None:
    """No progress."""
