"""How large a pool may become, for the plan: an upper estimate, which no pool comes near to.

Rollouts share states, many trajectories are right, and most intervals are narrow early; what that
saves is not known before the rollouts are there.
"""

from __future__ import annotations

from collections.abc import Sequence

from qstar_core.config import PoolConfig


def largest(pool: PoolConfig, rollouts: int, step: int, left: Sequence[int]) -> tuple[int, int]:
    """Samples and policy tokens of one problem's pool, at most.

    Args:
        pool: its settings.
        rollouts: of the problem, all of them different and of full length.
        step: tokens of one step, as `qstar_core.domains.problem_sets.left_tokens` says.
        left: tokens of a continuation of each state of a rollout.

    Returns:
        Samples (one search for kind mcts) and tokens.
    """
    longest = max(left, default=0)
    if pool.kind == "mcts":
        each = pool.k * (step + pool.rollouts * longest)
        return 1, min(pool.simulations * each, pool.tokens_per_problem or pool.simulations * each)
    if pool.kind == "binary_search":
        states = rollouts * len(left).bit_length()
        return states * pool.samples, states * pool.samples * longest
    draws = pool.draws if pool.max_samples is None else pool.max_samples
    costs = sorted([*left] * rollouts, reverse=True)[: pool.max_states]
    tokens = sum(costs) * draws
    if pool.tokens_per_problem is not None:
        first = sum(costs) * pool.draws
        tokens = min(tokens, max(first, pool.tokens_per_problem))
    return len(costs) * draws, tokens
