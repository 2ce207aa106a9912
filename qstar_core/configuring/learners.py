"""What is trained: the policy, one for each factor alone, LinUCB; each with its own episodes.

Every batch is kept as ``episodes-NAME-FIRST.parquet`` before anything is learnt from it, so a
training that is killed tries nothing again: it goes on from its last checkpoint, and finds the
batches after it on disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from qstar_core.adaptive.actions import Action, ActionSpace
from qstar_core.adaptive.bandits import LinearBandit, LinearChoice, principal
from qstar_core.adaptive.episodes import Batch, Result, results_of, to_table
from qstar_core.adaptive.policy import ConfigPolicy
from qstar_core.adaptive.reinforce import utilities
from qstar_core.adaptive.training import Collect, Questions, Reinforce, train, visits
from qstar_core.config_adaptive import AdaptiveConfig
from qstar_core.keys import content_id
from qstar_core.store import dataset

ALONE = "only-"
LINUCB = "linucb"
POINTS = 20
"""Of a learning curve."""
RIDGE = 1.0

Done = Callable[[int, float], None]
"""Called after each batch with (episodes done, its mean utility)."""


@dataclass(frozen=True, slots=True)
class Course:
    """One training.

    Attributes:
        name: ``policy``, ``only-FACTOR`` or ``linucb``.
        space: what it chooses from; of ``only-FACTOR`` the others have one value each.
        questions: sorted, with their embeddings.
        config: how it learns.
        seed: of the run.
        kept: folder of checkpoints and batches.
    """

    name: str
    space: ActionSpace
    questions: Questions
    config: AdaptiveConfig
    seed: int
    kept: Path


def space_for(name: str, space: ActionSpace, best: Action | None) -> ActionSpace:
    """What a learner chooses from.

    Args:
        name: of the learner.
        space: of the run.
        best: the best fixed configuration, for one that learns a factor alone.
    """
    if not name.startswith(ALONE) or best is None:
        return space
    return space.pinned(space.configuration(best), [name.removeprefix(ALONE)])


class Kept:
    """Keeps each batch before it is learnt from, and answers again from what is kept.

    Args:
        course: whose batches they are.
        collect: tries those that are not there.
    """

    def __init__(self, course: Course, collect: Collect) -> None:
        self.course, self.inner = course, collect

    def __call__(self, batch: Batch) -> Sequence[Result]:
        """The results of a batch."""
        path = self._path(batch.first)
        nothing = [Result(None, "")] * len(batch)
        asked = to_table(self.course.space, batch, nothing)["episode_id"]
        table = _read(path)
        if table is not None and table["episode_id"].to_pylist() == asked.to_pylist():
            return results_of(table)
        results = self.inner(batch)
        scratch = path.with_suffix(".writing")
        dataset.write_table(scratch, to_table(self.course.space, batch, results))
        os.replace(scratch, path)
        return results

    def table(self) -> pa.Table:
        """All batches of the training."""
        config, first, parts = self.course.config, 0, []
        while first < config.episodes:
            parts.append(pq.read_table(self._path(first)))
            first += parts[-1].num_rows
        return pa.concat_tables(parts).combine_chunks()

    def _path(self, first: int) -> Path:
        return self.course.kept / f"episodes-{self.course.name}-{first:07d}.parquet"


def _read(path: Path) -> pa.Table | None:
    """A kept batch; None where there is none, or it is damaged."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None


def learn(course: Course, collect: Collect, folder: Path, done: Done) -> npt.NDArray[np.int64]:
    """Trains and saves the result into a folder, under the name of the learner.

    Returns:
        The action that it takes on each question, [questions, factors].

    Raises:
        UserError: a reward is not in [0, 1]; what was learnt before is kept.
    """
    if course.name == LINUCB:
        return _linucb(course, collect, folder, done)
    config, x = course.config, course.questions.embeddings
    policy = ConfigPolicy(course.space, x.shape[1], config.hidden, course.seed)
    training = Reinforce(policy, course.questions, config.learning(), course.seed)

    def progress(episode: int, figures: dict[str, float]) -> None:
        done(episode, figures.get("utility", float("nan")))

    where, every = course.kept / course.name, config.save_every
    train(training, collect, folder=where, save_every=every, progress=progress)
    policy.save(folder, course.name)
    return policy.best(x)


def _linucb(course: Course, collect: Collect, folder: Path, done: Done) -> npt.NDArray[np.int64]:
    """LinUCB over the same questions in the same order; a batch is drawn before it is learnt."""
    config, space, questions = course.config, course.space, course.questions
    features = principal(questions.embeddings)
    x = features.of(questions.embeddings)
    alpha = config.linucb or 0.0
    bandit = LinearBandit(space, x.shape[1], "linucb", alpha, RIDGE)
    name = content_id(LINUCB, space.id, alpha, RIDGE)
    for first in range(0, config.episodes, config.batch_size):
        count = min(config.batch_size, config.episodes - first)
        rows, ids, seeds = visits(questions, course.seed, first, count, config.per_question)
        batch = Batch(first, ids, rows, seeds, None, bandit.draw(x[rows], seeds), name)
        results = collect(batch)
        known, worth = utilities(ids, results, config.price_per_token)
        bandit.learn(x[rows[known]], batch.drawn.actions[known], worth)
        done(first + count, float(worth.mean()) if len(worth) else float("nan"))
    choice = LinearChoice(space, features, bandit.thetas())
    choice.save(folder, course.name)
    return choice.best(questions.embeddings)


def load_learner(name: str, folder: Path) -> ConfigPolicy | LinearChoice:
    """A trained learner; nothing in its files is run."""
    return LinearChoice.load(folder, name) if name == LINUCB else ConfigPolicy.load(folder, name)


def figures(course: Course, tried: pa.Table, actions: npt.NDArray[np.int64]) -> dict[str, Any]:
    """What is told of a training.

    Args:
        course: it was.
        tried: its episodes.
        actions: what the learner takes on each question now, [questions, factors].
    """
    points = curve(tried, course.name, course.config.price_per_token)
    looked_up = course.config.source == "logged"
    return {
        "learner": course.name,
        "tokens": 0 if looked_up else int(tried["tokens"].fill_null(0).to_numpy().sum()),
        "episodes": tried.num_rows,
        "unknown": tried["reward"].null_count,
        "first": points[0]["utility"],
        "last": points[-1]["utility"],
        "curve": points,
        "chosen": chosen_values(course.space, actions),
    }


def curve(table: pa.Table, name: str, price: float) -> list[dict[str, Any]]:
    """The mean utility of the episodes of a training, in parts of equal length."""
    rewards = table["reward"].to_numpy(zero_copy_only=False).astype(float)
    tokens = table["tokens"].to_numpy(zero_copy_only=False).astype(float)
    worth = rewards - price * tokens
    parts = np.array_split(worth, min(POINTS, len(worth)))
    ends = np.cumsum([len(part) for part in parts]).tolist()
    return [
        {"learner": name, "episodes": end, "utility": mean(part)}
        for end, part in zip(ends, parts, strict=True)
    ]


def mean(worth: npt.NDArray[np.float64]) -> float | None:
    """The mean of what is known, rounded; None where nothing is."""
    known = worth[np.isfinite(worth)]
    return round(float(known.mean()), 6) if len(known) else None


def chosen_values(space: ActionSpace, actions: npt.NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """How often each value of each factor is chosen; values never chosen are left out."""
    found: dict[str, dict[str, int]] = {}
    for place, factor in enumerate(space.factors):
        counts = np.bincount(actions[:, place], minlength=len(factor.values))
        found[factor.name] = {
            str(value): int(count)
            for value, count in zip(factor.values, counts, strict=True)
            if count
        }
    return found
