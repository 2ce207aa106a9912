"""Training of a configuration policy: draw a batch of actions, have them tried, learn, go on.

Which question comes next and how its action is drawn depend on (run seed, question id, episode
index) alone; neither the order of the questions given nor the workers that try the actions matter.
The batch size does: it decides which weights an action is drawn with.

A training that is killed goes on from its last checkpoint (`qstar_core.training.checkpoints`), and
ends with the same weights, bit for bit on a CPU. Episodes after that checkpoint are drawn again;
they are the same, with the same ids.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from qstar_core.adaptive import reinforce
from qstar_core.adaptive.episodes import Batch, Result
from qstar_core.adaptive.policy import WEIGHTS, ConfigPolicy, Floats
from qstar_core.adaptive.reinforce import RunningMean
from qstar_core.config_adaptive import ReinforceConfig
from qstar_core.errors import UserError
from qstar_core.keys import content_id, sample_seed
from qstar_core.training import checkpoints

log = logging.getLogger(__name__)

OPTIMIZER = "optimizer.safetensors"
KEPT = 2  # checkpoints

Collect = Callable[[Batch], Sequence[Result]]
"""Tries the actions of a batch; one result per episode, in their order."""
Store = Callable[[Batch, Sequence[Result]], None]
"""Keeps a batch; may get the same one again after a kill."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What is trained on.

    Attributes:
        ids: all different.
        embeddings: [questions, width].
    """

    ids: tuple[str, ...]
    embeddings: Floats

    def sorted(self) -> Questions:
        """In the order of the ids.

        Raises:
            UserError: there is none, an id stands there twice, or they are not as many as rows.
        """
        if not self.ids or len(set(self.ids)) < len(self.ids):
            raise UserError(
                f"{len(self.ids)} questions with {len(set(self.ids))} different ids cannot be "
                "trained on",
                next_step="give one question at least, and each one once",
            )
        if len(self.embeddings) != len(self.ids):
            raise UserError(
                f"{len(self.ids)} questions have {len(self.embeddings)} embeddings",
                next_step="give one embedding per question",
            )
        order = sorted(range(len(self.ids)), key=lambda k: self.ids[k])
        return Questions(tuple(self.ids[k] for k in order), np.asarray(self.embeddings)[order])


def visits(
    questions: Questions, seed: int, first: int, count: int, per_question: int
) -> tuple[npt.NDArray[np.int64], tuple[str, ...], npt.NDArray[np.uint64]]:
    """The questions of some episodes in a row; every epoch has an order of its own.

    Args:
        questions: sorted.
        seed: of the run.
        first: index of the first of the episodes.
        count: how many they are.
        per_question: episodes of a question in a row.

    Returns:
        Places among the questions, ids, and the seeds that the actions are drawn with.
    """
    indices = np.arange(first, first + count)
    numbers = (indices // per_question).tolist()
    total = len(questions.ids)
    orders = {
        epoch: np.random.default_rng(sample_seed(seed, "order", epoch)).permutation(total)
        for epoch in {number // total for number in numbers}
    }
    rows = np.array([orders[n // total][n % total] for n in numbers], dtype=np.int64)
    ids = tuple(questions.ids[row] for row in rows)
    pairs = zip(ids, indices.tolist(), strict=True)
    seeds = np.array([sample_seed(seed, q, k) for q, k in pairs], dtype=np.uint64)
    return rows, ids, seeds


class Reinforce:
    """A training in progress.

    Args:
        policy: is changed; fresh or further trained. Its input is standardised to the questions
            where `fit_input` says so.
        questions: with their embeddings.
        config: how it learns.
        seed: of the run.
        fit_input: take mean and scale of the embeddings from these questions.

    Attributes:
        episode: how many episodes were learnt from.
    """

    def __init__(
        self,
        policy: ConfigPolicy,
        questions: Questions,
        config: ReinforceConfig,
        seed: int,
        *,
        fit_input: bool = True,
    ) -> None:
        self.policy, self.config, self.seed = policy, config, seed
        self.questions = questions.sorted()
        if fit_input:
            policy.standardise(self.questions.embeddings)
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
        self.mean = RunningMean(config.window)
        self.episode = 0
        numbers = np.ascontiguousarray(self.questions.embeddings, dtype=np.float64).tobytes()
        read = hashlib.sha256(numbers).hexdigest()
        ids = list(self.questions.ids)
        self._run = content_id(policy.fingerprint, ids, read, config.rows(), seed)

    def draw(self) -> Batch:
        """The next batch: questions, actions, propensities. Changes nothing."""
        count = min(self.config.batch_size, self.config.episodes - self.episode)
        rows, ids, seeds = visits(
            self.questions, self.seed, self.episode, count, self.config.per_question
        )
        tau = self.config.annealing.tau(self.episode)
        drawn = self.policy.draw(self.questions.embeddings[rows], seeds, tau)
        return Batch(self.episode, ids, rows, seeds, tau, drawn, self.policy.fingerprint)

    def update(self, batch: Batch, results: Sequence[Result]) -> dict[str, float]:
        """Learns from a batch that `draw` has given.

        Returns:
            Figures: mean utility, loss, entropy (nats), tau, baseline, unknown (episodes without a
            reward).

        Raises:
            UserError: a reward is not in [0, 1], or there are not as many results as episodes; the
                weights stay as they were.
        """
        if len(results) != len(batch) or batch.first != self.episode:
            raise UserError(
                f"{len(results)} results of a batch of {len(batch)} episodes that begins at "
                f"{batch.first}; the training is at episode {self.episode}",
                next_step="give one result per episode of the batch that was drawn last",
            )
        config = self.config
        known, worth = reinforce.utilities(batch.question_ids, results, config.price_per_token)
        tau = self.config.annealing.tau(self.episode)
        figures = {"tau": tau, "unknown": float(len(batch) - len(known))}
        if len(known):
            advantages, baseline = self._advantages(batch.rows[known], worth)
            x = self.questions.embeddings[batch.rows[known]]
            log_probs = self.policy.log_probs(x, tau)
            actions = batch.drawn.actions[known]
            loss = reinforce.surrogate(log_probs, actions, advantages, config.entropy_bonus)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.mean.add(worth)
            spread = float(reinforce.entropy(log_probs).detach())
            told = {"utility": float(worth.mean()), "loss": float(loss.detach())}
            figures |= {**told, "entropy": spread, "baseline": baseline}
        self.episode += len(batch)
        return figures

    def save(self, folder: Path) -> Path:
        """Writes a checkpoint and removes older ones.

        Args:
            folder: of all checkpoints of this training.
        """
        place = folder / f"checkpoint-{self.episode}"
        shutil.rmtree(place, ignore_errors=True)
        self.policy.save(place)
        parameters = self.optimizer.state_dict()["state"]
        flat = {f"{k}.{name}": t for k, state in parameters.items() for name, t in state.items()}
        save_file(flat, place / OPTIMIZER)
        mean = {"value": self.mean.value, "count": self.mean.count}
        checkpoints.seal(place, {"run": self._run, "episode": self.episode, "mean": mean})
        older = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
        for each in older[:-KEPT]:
            shutil.rmtree(each)
        return place

    def resume(self, folder: Path) -> int:
        """Goes on from the newest whole checkpoint, if there is one.

        Returns:
            The number of episodes that were learnt from.

        Raises:
            UserError: the checkpoint is of another training.
        """
        place, notes, _ = checkpoints.newest(folder)
        if place is None:
            return self.episode
        if notes.get("run") != self._run:
            raise UserError(
                f"the checkpoint {place} is of a training with other questions or settings",
                safe="it is kept",
                next_step="name another folder, or remove this one to begin anew",
            )
        self.policy.load_state_dict(load_file(place / WEIGHTS))
        states: dict[int, dict[str, Any]] = {}
        for name, tensor in load_file(place / OPTIMIZER).items():
            number, _, part = name.partition(".")
            states.setdefault(int(number), {})[part] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.mean.value, self.mean.count = notes["mean"]["value"], notes["mean"]["count"]
        self.episode = notes["episode"]
        log.info("training goes on after episode %d", self.episode)
        return self.episode

    def _advantages(
        self, rows: npt.NDArray[np.int64], worth: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], float]:
        if self.config.baseline == "leave_one_out":
            groups = np.unique(rows, return_inverse=True)[1]
            others = reinforce.leave_one_out(worth, groups)
            return worth - others, float(others.mean())
        baseline = self.mean.value if self.config.baseline == "running_mean" else 0.0
        return worth - baseline, baseline


def train(
    training: Reinforce,
    collect: Collect,
    *,
    store: Store | None = None,
    folder: Path | None = None,
    save_every: int = 1000,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> ConfigPolicy:
    """Runs a training to its end, from its last checkpoint if there is one.

    Args:
        training: where it stands.
        collect: tries the actions of a batch.
        store: keeps each batch; batches that it has may come again after a kill.
        folder: of the checkpoints; None writes none.
        save_every: episodes from one checkpoint to the next, at least.
        progress: called after each update with (episodes done, figures).

    Returns:
        The trained policy.
    """
    if folder is not None:
        training.resume(folder)
    saved = training.episode
    while training.episode < training.config.episodes:
        batch = training.draw()
        results = collect(batch)
        figures = training.update(batch, results)
        if store is not None:
            store(batch, results)
        if folder is not None and training.episode - saved >= save_every:
            training.save(folder)
            saved = training.episode
        if progress is not None:
            progress(training.episode, figures)
    return training.policy
