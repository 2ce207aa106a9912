"""The rows of a pool for some problems, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import polars as pl
import pyarrow as pa

from qstar_core.config import PolicyConfig, PoolConfig, RunConfig, SearchConfig
from qstar_core.keys import sample_seed
from qstar_core.mdp import Problem
from qstar_core.policies import Policy
from qstar_core.rollouts.bisection import bisection
from qstar_core.rollouts.continuations import Asking, advance
from qstar_core.rollouts.from_states import from_states
from qstar_core.rollouts.paths import PATHS, Path, Sampling, found
from qstar_core.rollouts.regrade import regrade
from qstar_core.search.budget import Budget, Ledger
from qstar_core.search.driver import run
from qstar_core.search.rollout_mcts import Gathered, rollout_mcts
from qstar_core.search.trace import Search, SearchResult

CONTINUING: dict[str, Callable[[Problem, Sequence[Path], PoolConfig], Asking]] = {
    "states": from_states,
    "stronger": from_states,
    "binary_search": bisection,
}
UNLIMITED = 10**9
"""Tokens, calls and expansions of a tree search that is limited by its simulations alone."""

OnAsked = Callable[[int], None]
Done = Callable[[int, int], None]


def policy_of(pool: PoolConfig, config: RunConfig) -> PolicyConfig:
    """Who samples a pool."""
    return config.policy if pool.policy is None else pool.policy


def sampling_of(pool: PoolConfig, config: RunConfig, policy: str) -> Sampling:
    """How a pool is sampled; ``policy`` is the fingerprint of who does."""
    temperature = pool.temperature if pool.kind == "stronger" else config.rollouts.temperature
    limit = config.rollouts.max_new_tokens
    return Sampling(pool.kind, policy, temperature, limit, config.seed)


def rollouts_of(files: Sequence[str], problems: Sequence[Problem]) -> dict[str, list[Path]]:
    """The rollouts of some problems in Parquet files, by problem id, in their order.

    They have the outcomes of today's grader, which may decide what is sampled.
    """
    known = {problem.id: problem for problem in problems}
    ids = pl.Series(list(known), dtype=pl.String)
    rows = pl.scan_parquet(list(files)).filter(pl.col("problem_id").is_in(ids.implode()))
    for domain in {problem.domain for problem in problems}:
        rows = regrade(rows, domain, lambda: known)
    return {
        str(problem_id): found.to_dicts()
        for (problem_id,), found in rows.collect().group_by("problem_id", maintain_order=True)
    }


def sample_pool(
    problems: Sequence[Problem],
    rollouts: Mapping[str, Sequence[Path]],
    pool: PoolConfig,
    policy: Policy,
    config: RunConfig,
    done: Done,
    on_asked: OnAsked,
) -> pa.Table:
    """Makes the pool of some problems.

    Args:
        problems: whose pool is made; the rows of one do not depend on the others.
        rollouts: rows of the rollouts by problem id; those without any get no pool but that of a
            tree search.
        pool: what is made.
        policy: who samples.
        config: of the run.
        done: called with (samples finished since the last call, their tokens).
        on_asked: called with the number of samples asked for since the last call.

    Returns:
        A table of `qstar_core.rollouts.paths.PATHS` in the order of the problems.

    Raises:
        RuntimeError: the search of a problem failed.
    """
    sampling = sampling_of(pool, config, policy.fingerprint)
    if pool.kind == "mcts":
        paths = tree_paths(problems, pool, policy, sampling, config, done, on_asked)
    else:
        asking = CONTINUING[pool.kind]

        def begin(problem: Problem) -> Asking:
            return asking(problem, rollouts.get(problem.id, ()), pool)

        paths = advance(problems, begin, policy, sampling, done, on_asked)
    return pa.Table.from_pylist(paths, schema=PATHS)


def tree_paths(
    problems: Sequence[Problem],
    pool: PoolConfig,
    policy: Policy,
    sampling: Sampling,
    config: RunConfig,
    done: Done,
    on_asked: OnAsked,
) -> list[Path]:
    """The finished trajectories of a tree search of each problem; progress counts searches."""
    gathered = {problem.id: Gathered(problem) for problem in problems}
    settings = SearchConfig(
        name=pool.stage,
        algorithm="mcts",
        temperature=sampling.temperature,
        k=pool.k,
        lam=0.0,
        reward="none",
        exploration=pool.exploration,
        exploration_rule=pool.exploration_rule,
    )

    def search(problem: Problem, config: SearchConfig, ledger: Ledger) -> Search:
        algorithm = partial(rollout_mcts, simulations=pool.simulations, rollouts=pool.rollouts)
        return algorithm(problem, config, ledger, gathered=gathered[problem.id])

    def on_result(place: int, result: SearchResult) -> None:
        if result.stop_reason == "error":
            raise RuntimeError(f"the search of a pool failed: {result.error}")

    on_asked(len(problems))
    run(
        problems,
        settings,
        Budget(pool.tokens_per_problem or UNLIMITED, UNLIMITED, UNLIMITED),
        policy,
        None,
        run_seed=sample_seed(config.seed, sampling.source, 0),
        active=len(problems),
        max_step_tokens=sampling.max_new_tokens,
        max_new_tokens=sampling.max_new_tokens,
        on_progress=lambda ended, tokens, under_way: done(ended, tokens),
        on_result=on_result,
        algorithm=search,
    )
    return [
        found(problem, steps, given, index, sampling)
        for problem in problems
        for index, (steps, given) in enumerate(gathered[problem.id].ends.values())
    ]
