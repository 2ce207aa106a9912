"""How large a pool may become, for the plan: an upper estimate, which no pool comes near to.

Rollouts share states, many trajectories are right, and most intervals are narrow early; what that
saves is not known before the rollouts are there.
"""

from __future__ import annotations

from qstar_core.config import PoolConfig
from qstar_core.domains import countdown


def largest(pool: PoolConfig, rollouts: int, numbers: int) -> tuple[int, int]:
    """Samples and policy tokens of one problem's pool, at most.

    Args:
        pool: its settings.
        rollouts: of the problem, all of them different and of full length.
        numbers: of a countdown problem.

    Returns:
        Samples (one search for kind mcts) and tokens.
    """
    rest = [countdown.expected_tokens(left) for left in range(2, numbers)]  # of a state's ends
    if pool.kind == "mcts":
        line = countdown.expected_tokens(numbers) // max(1, numbers - 1) + 1
        each = pool.k * (line + pool.rollouts * max(rest, default=0))
        return 1, min(pool.simulations * each, pool.tokens_per_problem or pool.simulations * each)
    if pool.kind == "binary_search":
        states = rollouts * (numbers - 2).bit_length()
        return states * pool.samples, states * pool.samples * max(rest, default=0)
    draws = pool.draws if pool.max_samples is None else pool.max_samples
    costs = sorted(rest * rollouts, reverse=True)[: pool.max_states]
    tokens = sum(costs) * draws
    if pool.tokens_per_problem is not None:
        first = sum(costs) * pool.draws
        tokens = min(tokens, max(first, pool.tokens_per_problem))
    return len(costs) * draws, tokens
