"""What another policy would have earned, from stored episodes and their propensities.

With w_i = pi(a_i | q_i) / mu(a_i | q_i), the target policy pi over the one that drew the action mu:

    IPS    mean_i w_i r_i                                     (Horvitz and Thompson 1952)
    SNIPS  sum_i w_i r_i / sum_i w_i                          (Swaminathan and Joachims 2015)
    DR     mean_i [ v(q_i) + w_i (r_i - m(q_i, a_i)) ]        (Dudik, Langford and Li 2011)

where m is a model of the reward and v(q) = sum_a pi(a | q) m(q, a). A fixed configuration is the
target that gives it probability 1. Episodes without a reward are left out (`from_table`): the
estimates are of the mean over those that can be judged.

1. Intervals are Student's t on the influence of each question: the episodes of a question are not
   independent. That of SNIPS is the delta method. All need weights of moderate size; `Estimate.ess`
   says how many episodes they are worth, and below `ENOUGH` an interval is not to be trusted.
2. m is additive over the factors, so v is exact and no sum over all configurations is needed. It is
   fitted on other questions than it judges (cross-fitting, Chernozhukov et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import stdtrit

from qstar_core.adaptive.actions import Action, Actions, ActionSpace
from qstar_core.adaptive.episodes import actions_of
from qstar_core.adaptive.policy import Probabilities, taken_of
from qstar_core.errors import UserError
from qstar_core.values.metrics import dense

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
ENOUGH = 30.0  # effective episodes


@dataclass(frozen=True, slots=True)
class Logged:
    """Episodes to judge a policy by.

    Attributes:
        question_ids: one per episode; a question may have several.
        actions: [n, factors].
        propensities: [n], of whole actions when they were drawn, in (0, 1].
        rewards: [n], or utilities; finite.
    """

    question_ids: Sequence[str]
    actions: Actions
    propensities: Floats
    rewards: Floats

    def __post_init__(self) -> None:
        shapes = {len(self.question_ids), *map(len, (self.actions, self.propensities))}
        if shapes != {len(self.rewards)} or not len(self.rewards):
            raise UserError(
                f"questions, actions, propensities and rewards of {len(self.rewards)} episodes "
                "are not equally many, or there are none",
                next_step="give the columns of one table of episodes",
            )
        if not ((self.propensities > 0) & (self.propensities <= 1)).all():
            raise UserError(
                "a propensity is not in (0, 1]",
                next_step="leave out episodes whose propensities are not known",
            )
        if not np.isfinite(self.rewards).all():
            raise UserError("a reward is not finite", next_step="leave out episodes without one")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a policy would have earned per episode.

    Attributes:
        value: nan where no episode has an action that the policy would take.
        low: of the 95 % interval; nan with fewer than two questions.
        high: of the same.
        ess: effective sample size, (sum w)^2 / sum w^2, from 0 to the number of episodes.
        episodes: how many it was computed from.
    """

    value: float
    low: float
    high: float
    ess: float
    episodes: int

    @property
    def trusted(self) -> bool:
        """Whether the effective sample size is `ENOUGH`."""
        return self.ess >= ENOUGH


def from_table(table: pa.Table, price: float = 0.0) -> tuple[Logged, npt.NDArray[np.int64]]:
    """Stored episodes to judge a policy by, without those of unknown reward or propensities.

    Args:
        table: of `qstar_core.adaptive.episodes.SCHEMA`.
        price: of a token, in units of reward; with one, episodes of unknown cost are left out.

    Returns:
        The episodes, and their rows in the table.

    Raises:
        UserError: none is left.
    """
    needed = ["reward", "propensities", *(["tokens"] if price else [])]
    known = [table[name].is_valid().to_numpy(zero_copy_only=False) for name in needed]
    rows = np.flatnonzero(np.logical_and.reduce(known))
    kept = table.take(pa.array(rows))
    if not len(rows):
        raise UserError(
            f"none of {table.num_rows} episodes has {', '.join(needed)}",
            next_step="name episodes that a policy with known propensities has drawn",
        )
    tokens = kept["tokens"].to_numpy() if price else 0.0
    propensities = np.array(kept["propensities"].to_pylist()).prod(axis=1)
    worth = kept["reward"].to_numpy() - price * tokens
    ids = kept["question_id"].to_pylist()
    return Logged(ids, actions_of(kept), propensities, worth), rows


def ips(logged: Logged, target: Probabilities) -> Estimate:
    """Inverse propensity score: unbiased, wide where the weights are large.

    Args:
        logged: the episodes.
        target: the policy's probabilities of each factor's values at each episode, [n, values].
    """
    w = weights(logged, target)
    return _mean(w * logged.rewards, logged, w)


def snips(logged: Logged, target: Probabilities) -> Estimate:
    """Self-normalised IPS: a little biased, within the range of the rewards, mostly narrower."""
    w = weights(logged, target)
    if not w.any():
        return Estimate(math.nan, math.nan, math.nan, 0.0, len(w))
    value = float((w * logged.rewards).sum() / w.sum())
    influence = w * (logged.rewards - value) / w.mean()
    low, high = _interval(value, influence, logged.question_ids, effective(w))
    return Estimate(value, low, high, effective(w), len(w))


def doubly_robust(
    logged: Logged, target: Probabilities, embeddings: Floats, folds: int = 5, ridge: float = 1.0
) -> Estimate:
    """DR: right if the propensities are, and narrow where the model of the reward is good.

    Args:
        logged: the episodes.
        target: as in `ips`.
        embeddings: [n, width], of each episode's question; few numbers, see `bandits.principal`.
        folds: of the cross-fitting; questions are cut into so many parts.
        ridge: penalty of the model's weights.
    """
    w = weights(logged, target)
    taken, expected = cross_fitted(logged, target, embeddings, folds, ridge)
    return _mean(expected + w * (logged.rewards - taken), logged, w)


def weights(logged: Logged, target: Probabilities) -> Floats:
    """w = pi(a | q) / mu(a | q) of each episode, [n]."""
    return np.asarray(taken_of(target, logged.actions).prod(axis=1) / logged.propensities)


def fixed(space: ActionSpace, action: Action, episodes: int) -> Probabilities:
    """The policy that always takes one configuration, as a target for some episodes."""
    space.check(np.asarray([action]))
    return [
        np.tile(np.arange(width) == k, (episodes, 1)).astype(np.float64)
        for width, k in zip(space.widths, action, strict=True)
    ]


def deterministic(space: ActionSpace, actions: Actions) -> Probabilities:
    """The policy that takes a given action in each episode, as a target."""
    space.check(actions)
    columns = zip(space.widths, actions.T, strict=True)
    return [np.eye(width)[column] for width, column in columns]


def effective(w: Floats) -> float:
    """Effective sample size (Kish 1965)."""
    return float(w.sum() ** 2 / (w**2).sum()) if w.any() else 0.0


def cross_fitted(
    logged: Logged, target: Probabilities, embeddings: Floats, folds: int, ridge: float
) -> tuple[Floats, Floats]:
    """The reward model's m(q, a) and v(q) of each episode, by a model of other questions.

    The model is ridge regression on the embedding, the values of the factors, and the products of
    the two.
    """
    onehot = deterministic_parts(logged.actions, target)
    seen, wanted = _features(embeddings, onehot), _features(embeddings, target)
    part = dense(np.asarray(logged.question_ids)) % folds
    taken, expected = np.zeros(len(part)), np.zeros(len(part))
    for fold in range(folds):
        inside, outside = part == fold, part != fold
        if not inside.any():
            continue
        known = logged.rewards[outside]
        mean = float(known.mean()) if len(known) else 0.0
        x = seen[outside]
        theta = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ (known - mean))
        taken[inside] = mean + seen[inside] @ theta
        expected[inside] = mean + wanted[inside] @ theta
    return taken, expected


def deterministic_parts(actions: Actions, like: Probabilities) -> Probabilities:
    """Taken actions as probabilities of 0 and 1, of the same shapes as others."""
    pairs = zip(like, actions.T, strict=True)
    return [np.eye(p.shape[1])[column] for p, column in pairs]


def _features(embeddings: Floats, probabilities: Probabilities) -> Floats:
    """Linear in the probabilities, so that their expectation is the features' expectation."""
    one = np.ones((len(embeddings), 1))
    x = np.concatenate([one, embeddings], axis=1)
    crossed = [(p[:, :, None] * x[:, None, :]).reshape(len(x), -1) for p in probabilities]
    return np.concatenate([x, *crossed], axis=1)


def _mean(values: Floats, logged: Logged, w: Floats) -> Estimate:
    if not w.any():
        return Estimate(math.nan, math.nan, math.nan, 0.0, len(w))
    value = float(values.mean())
    low, high = _interval(value, values - value, logged.question_ids, effective(w))
    return Estimate(value, low, high, effective(w), len(w))


def _interval(
    value: float, influence: Floats, clusters: Sequence[str], ess: float
) -> tuple[float, float]:
    """value -/+ t * sqrt(sum over questions of (sum of influence)^2) / n, with G / (G - 1).

    t has as many degrees of freedom as there are questions or effective episodes, less one.
    """
    sums = np.bincount(dense(np.asarray(clusters)), weights=influence)
    count = len(sums)
    if count < 2:
        return math.nan, math.nan
    error = math.sqrt(float((sums**2).sum()) * count / (count - 1)) / len(influence)
    half = float(stdtrit(max(1.0, min(count, ess) - 1), 0.5 + LEVEL / 2)) * error
    return value - half, value + half
