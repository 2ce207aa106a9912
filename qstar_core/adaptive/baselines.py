"""What a learned policy has to beat: random actions, the best fixed one, one factor alone.

AdaReasoner's tables lack the second: the single configuration that does best over the same training
questions, found with the same number of episodes. What is gained over it is what choosing by
question gains.

1. `halving` finds it by sequential halving (Karnin, Koren and Somekh 2013): every configuration is
   tried on the same few questions, the better half on more, and so on. Where there are more
   configurations than it has episodes for, `by_factors` takes the best value of each factor.
2. A per-factor ablation is the ordinary training in `ActionSpace.pinned`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qstar_core.adaptive.actions import Action, Actions, ActionSpace, Drawn
from qstar_core.adaptive.policy import Probabilities, draw_factors
from qstar_core.errors import UserError

Floats = npt.NDArray[np.floating[Any]]
Pull = Callable[[Actions, npt.NDArray[np.int64]], Floats]
"""Utilities of actions [n, factors] on the questions with places [n]; nan where unknown."""


def uniform(space: ActionSpace, episodes: int) -> Probabilities:
    """The policy that takes every value of every factor alike, as a target or to draw from."""
    return [np.full((episodes, width), 1.0 / width) for width in space.widths]


def random_actions(space: ActionSpace, seeds: npt.NDArray[np.uint64]) -> Drawn:
    """An action per seed, all configurations alike."""
    return draw_factors(uniform(space, len(seeds)), seeds)


def best_of_table(table: Floats) -> int:
    """The best fixed configuration where all were tried on all questions.

    Args:
        table: [questions, configurations], utilities; nan where unknown.

    Returns:
        The column with the largest mean, the first of several.
    """
    known = ~np.isnan(table)
    means = np.where(known, table, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return int(np.where(known.any(axis=0), means, -np.inf).argmax())


def halving(pull: Pull, space: ActionSpace, questions: int, episodes: int, seed: int) -> Action:
    """The best fixed configuration by sequential halving.

    Args:
        pull: tries configurations on questions.
        space: of the configurations.
        questions: how many training questions there are.
        episodes: at most.
        seed: of the order of the questions.

    Raises:
        UserError: there are not enough episodes to try each configuration once in every round.
    """
    rounds = max(1, math.ceil(math.log2(space.size)))
    if episodes < space.size * rounds:
        raise UserError(
            f"{episodes} episodes are too few to halve {space.size} configurations {rounds} times",
            next_step=f"take {space.size * rounds} at least, or the best value of each factor",
        )
    order = np.random.default_rng(seed).permutation(questions)
    left = np.arange(space.size)
    total, count, at = np.zeros(space.size), np.zeros(space.size), 0
    for _ in range(rounds):
        each = episodes // (rounds * len(left))
        asked = order[np.arange(at, at + each) % questions]
        at += each
        arms = np.repeat(left, each)
        found = np.asarray(pull(space.numbered(arms), np.tile(asked, len(left))), dtype=np.float64)
        known = ~np.isnan(found)
        np.add.at(total, arms[known], found[known])
        np.add.at(count, arms[known], 1.0)
        means = np.where(count[left] > 0, total[left] / np.maximum(count[left], 1), -np.inf)
        best_first = np.argsort(-means, kind="stable")
        left = left[best_first][: max(1, math.ceil(len(left) / 2))]
    return tuple(int(k) for k in space.numbered(left[:1])[0])


def by_factors(
    space: ActionSpace, actions: Actions, propensities: Floats, utilities: Floats
) -> Action:
    """The best value of each factor by itself, from episodes that any policy drew.

    Args:
        space: of the configurations.
        actions: [n, factors].
        propensities: [n, factors].
        utilities: [n].

    Returns:
        For each factor the value with the largest mean, episodes weighted by 1 / propensity of
        that factor; values never seen are not taken.
    """
    space.check(actions)
    found = []
    for j, width in enumerate(space.widths):
        weight = 1.0 / propensities[:, j]
        total = np.bincount(actions[:, j], weights=weight * utilities, minlength=width)
        mass = np.bincount(actions[:, j], weights=weight, minlength=width)
        means = np.where(mass > 0, total / np.where(mass > 0, mass, 1.0), -np.inf)
        found.append(int(means.argmax()))
    return tuple(found)


def regret_curve(worth: Floats, best: Floats | float) -> npt.NDArray[np.float64]:
    """Cumulative regret after each episode.

    Args:
        worth: [n], expected utility of the action taken, or the utility itself, in the order of
            the episodes.
        best: [n], what the best action was worth there, or one number such as the mean utility of
            the best fixed configuration; then it can fall.
    """
    return np.cumsum(np.asarray(best) - np.asarray(worth, dtype=np.float64))


def mean_curve(
    curves: Sequence[Floats], z: float = 1.959964
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean of several curves of one length, such as one per seed, with a normal interval.

    Returns:
        (mean, low, high), each [n]; low and high are nan for a single curve.
    """
    stacked = np.stack([np.asarray(curve, dtype=np.float64) for curve in curves])
    mean = stacked.mean(axis=0)
    if len(stacked) < 2:
        nothing = np.full_like(mean, np.nan)
        return mean, nothing, nothing
    half = z * stacked.std(axis=0, ddof=1) / math.sqrt(len(stacked))
    return mean, mean - half, mean + half
