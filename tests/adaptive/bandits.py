"""Bandits whose truth is known: what a configuration policy is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qstar_core.adaptive.actions import Actions, ActionSpace
from qstar_core.adaptive.episodes import Batch, Result
from qstar_core.adaptive.policy import ConfigPolicy
from qstar_core.adaptive.training import Questions, Reinforce
from qstar_core.config_adaptive import Factor, ReinforceConfig
from qstar_core.policies.sampling import uniforms

Array = npt.NDArray[np.float64]
REWARD_STREAM = 1000  # of the seed's uniforms; the first ones draw the action


def space_of(*widths: int) -> ActionSpace:
    """A space of factors f0, f1, ... whose values are 0, 1, ..."""
    factors = [Factor(name=f"f{j}", values=tuple(range(w))) for j, w in enumerate(widths)]
    return ActionSpace(factors=tuple(factors))


@dataclass(frozen=True)
class Bandit:
    """Questions of some kinds; each kind has a best value of each factor.

    A configuration succeeds with probability low + (high - low) * prod_j s_j, where s_j falls from
    1 at the best value to 0 at the one farthest from it.

    Attributes:
        space: of the configurations.
        centres: [kinds, width], mean embedding of each kind.
        best: [kinds, factors], the best values.
    """

    space: ActionSpace
    centres: Array
    best: Actions
    low: float = 0.05
    high: float = 0.95

    def questions(self, count: int, seed: int) -> tuple[Questions, npt.NDArray[np.int64]]:
        """Questions with noisy embeddings, and the kind of each."""
        rng = np.random.default_rng(seed)
        kinds = rng.integers(len(self.centres), size=count)
        noise = rng.normal(size=(count, self.centres.shape[1]))
        ids = tuple(f"q{seed}-{k:05d}" for k in range(count))
        return Questions(ids, self.centres[kinds] + 0.5 * noise), kinds

    def expected(self, kinds: npt.NDArray[np.int64], actions: Actions) -> Array:
        """Probability of success, [n]."""
        widths = np.array(self.space.widths)
        best = self.best[kinds]
        farthest = np.maximum(np.maximum(best, widths - 1 - best), 1)
        near = 1 - np.abs(actions - best) / farthest
        return np.asarray(self.low + (self.high - self.low) * near.prod(axis=1))

    def collect(self, batch: Batch, kinds: npt.NDArray[np.int64]) -> list[Result]:
        """Successes drawn from each episode's own seed."""
        chance = self.expected(kinds[batch.rows], batch.drawn.actions)
        return results(chance, batch.seeds)


def results(chance: Array, seeds: npt.NDArray[np.uint64]) -> list[Result]:
    """A success with some chance, as a result."""
    won = uniforms(seeds, REWARD_STREAM) < chance
    return [Result(float(w), "correct" if w else "wrong", tokens=10) for w in won]


def contextual(seed: int, widths: Sequence[int] = (10, 6, 5), kinds: int = 4) -> Bandit:
    """A bandit with random kinds; 16 numbers in an embedding."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(kinds, 16))
    best = np.stack([rng.integers(w, size=kinds) for w in widths], axis=1).astype(np.int64)
    return Bandit(space_of(*widths), centres, best)


def start(
    space: ActionSpace, questions: Questions, config: ReinforceConfig, seed: int
) -> Reinforce:
    """A training from fresh weights."""
    policy = ConfigPolicy(space, questions.embeddings.shape[1], config.hidden, seed)
    return Reinforce(policy, questions, config, seed)
