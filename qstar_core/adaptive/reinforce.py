"""REINFORCE on the configuration policy (AdaReasoner, arXiv 2505.17312, section 3; Williams 1992).

Minimised is, over the episodes i of a batch and the factors j,

    loss = mean_i [ -(u_i - b_i) * sum_j log pi_j(a_ij | q_i; tau) ] - bonus * mean_i sum_j H(pi_j)

with u = reward - price * tokens. The minus makes an action that was better than b *more* probable;
the published code adds the gradient of the loss to the weights, and so makes it less probable.

1. b: the paper has none; here also a running mean of the utilities before the batch, or the mean of
   the other episodes of the same question in it (leave-one-out). None of them depends on the action
   that it is subtracted for, so the gradient stays unbiased.
2. An update is made of a batch of episodes, with Adam.
3. An episode without a reward (the grader or the judge failed) teaches nothing; it is not a 0.
4. The entropy bonus, 0 in the paper, keeps factors that the reward hardly depends on from settling
   by chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from qstar_core.adaptive.episodes import Result
from qstar_core.errors import UserError

Floats = npt.NDArray[np.float64]


class RunningMean:
    """The mean of what came before, with a window.

    Attributes:
        value: 0 until something came.
        count: of the values, the window at most.
    """

    def __init__(self, window: int) -> None:
        self.window, self.value, self.count = window, 0.0, 0

    def add(self, values: Floats) -> None:
        """Takes values one after the other."""
        for value in values:
            self.count = min(self.count + 1, self.window)
            self.value += (float(value) - self.value) / self.count


def surrogate(
    log_probs: Sequence[torch.Tensor],
    actions: npt.NDArray[np.int64],
    advantages: Floats,
    entropy_bonus: float,
) -> torch.Tensor:
    """The loss whose gradient is that of REINFORCE; see the module. To be minimised.

    Args:
        log_probs: of every value of each factor, [n, values], nats.
        actions: [n, factors].
        advantages: [n], u - b.
        entropy_bonus: 0 or more.
    """
    chosen = torch.as_tensor(actions)
    taken = sum(
        (p.gather(1, chosen[:, [j]])[:, 0] for j, p in enumerate(log_probs)),
        torch.zeros(len(actions), dtype=torch.float64),
    )
    loss = -(torch.as_tensor(advantages) * taken).mean()
    if entropy_bonus:
        loss = loss - entropy_bonus * entropy(log_probs)
    return loss


def entropy(log_probs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Entropy of the whole action, the sum over factors, mean over the rows, nats."""
    parts = [-(p.exp() * p).sum(dim=1).mean() for p in log_probs]
    return torch.stack(parts).sum()


def leave_one_out(utilities: Floats, groups: npt.NDArray[np.int64]) -> Floats:
    """For each episode the mean of the others of its group; its own where it is alone, [n].

    Args:
        utilities: [n].
        groups: [n], which question each belongs to, from 0.
    """
    count = np.bincount(groups)[groups]
    total = np.bincount(groups, weights=utilities)[groups]
    others = (total - utilities) / np.maximum(count - 1, 1)
    return np.asarray(np.where(count > 1, others, utilities))


def utilities(
    question_ids: Sequence[str], results: Sequence[Result], price: float
) -> tuple[npt.NDArray[np.int64], Floats]:
    """What the episodes were worth: reward - price * tokens.

    Args:
        question_ids: one per episode.
        results: one per episode.
        price: of a token, in units of reward.

    Returns:
        The places of the episodes whose reward is known, and their utilities.

    Raises:
        UserError: a reward is outside of [0, 1] or NaN, or a price is asked for and the tokens
            of an episode are not known.
    """
    known = [k for k, result in enumerate(results) if result.reward is not None]
    found = []
    for k in known:
        reward, tokens = results[k].reward, results[k].tokens
        check_reward(reward, question_ids[k])
        if price and tokens is None:
            raise UserError(
                f"the tokens of an episode of question {question_ids[k]} are not known, and "
                "price_per_token is set",
                safe="the weights are those before this batch",
                next_step="set price_per_token to 0, or count the tokens",
            )
        found.append(float(reward or 0.0) - price * (tokens or 0))
    return np.array(known, dtype=np.int64), np.array(found, dtype=np.float64)


def check_reward(reward: float | None, question_id: str) -> None:
    """Makes sure that a reward, where there is one, lies in [0, 1].

    Raises:
        UserError: it does not, or is NaN.
    """
    if reward is not None and not 0.0 <= reward <= 1.0:
        raise UserError(
            f"the reward of an episode of question {question_id} is {reward}, not in [0, 1]",
            safe="the weights are those before this batch; nothing was learnt from it",
            next_step="scale the rewards to [0, 1], and leave out (None) what could not be judged",
        )
