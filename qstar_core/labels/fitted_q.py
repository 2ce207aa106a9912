"""Fitted Q-iteration: the label of a step is the reward plus the best value found next.

Q* (arXiv 2406.14283), section 3.2, offline reinforcement learning:

    y_l(s_t, a_t) = R(s_t, a_t)                                                  at t = T
                  = R(s_t, a_t) + gamma * max over a in top-K of Q_(l-1)(s_(t+1), a)   before,

round l of L; R is 0 before the last step. The paper asks the policy for K actions in s_(t+1). Here
the candidates are the actions that are stored for that state: the first K distinct ones in the
order of the paths, rollouts first, so that no round generates a token. A candidate without a value
counts as 0, so with an empty table of values this is round 1 from Q_0 = 0.

The maximum runs over estimates, so errors of Q_(l-1) push the labels up. Where a state was
truncated in one path and went on in another, the better of the two counts.

Worked example, gamma = 0.5. Rollouts: (a, b) wrong, (a, c) correct, (d, e) wrong. Values of the
previous round: Q(b) = 0.2, Q(c) = 0.6, Q(e) = 0.1. y(a) = 0.5 * 0.6 = 0.3, y(b) = 0, y(c) = 1,
y(d) = 0.5 * 0.1 = 0.05, y(e) = 0. With candidates = 1 only b is asked after a: y(a) = 0.1.
`fitted_q_tabular`: round 1 has y(c) = 1 alone, round 2 y(a) = 0.5 as well, and it stays so.
"""

from __future__ import annotations

import polars as pl

from qstar_core.labels.steps import ROOT, label_rows, returns, steps_of

SOURCES = (ROOT, "states", "binary_search")


def fitted_q(
    paths: pl.LazyFrame, gamma: float, values: pl.LazyFrame, candidates: int | None = None
) -> pl.LazyFrame:
    """Labels every step of every rollout from the values of the previous round.

    Args:
        paths: rollouts and pools (`qstar_core.rollouts.paths.PATHS`) of whole problems.
        gamma: discount per step, in (0, 1].
        values: action_id and value, in [0, 1], of the candidates; see `candidate_actions`.
        candidates: K, how many of the actions stored for a state are asked; None asks all.

    Returns:
        Rows of `qstar_core.labels.schema.SCHEMA`; y in [0, 1]. n_samples and successes count the
        policy's paths through the step.
    """
    moves = _moves(paths)
    targets = _targets(moves, gamma, values, candidates)
    actions = moves.select("action_id", "n_samples", "successes").join(targets, on="action_id")
    return label_rows(paths, actions, "fitted_q", gamma, {"candidates": candidates})


def fitted_q_tabular(paths: pl.LazyFrame, gamma: float, rounds: int) -> pl.LazyFrame:
    """Fitted Q-iteration with a table for a model: each action's value is its own last label.

    For audits: it shows what the method can reach where the model makes no error. After as many
    rounds as the longest path has steps nothing changes any more, and where all actions of all
    states are stored the labels are the exact Q*.

    Args:
        paths: as in `fitted_q`.
        gamma: discount per step, in (0, 1].
        rounds: L, at least 1; Q_0 = 0.

    Returns:
        As `fitted_q` with all candidates.
    """
    moves = _moves(paths).collect().lazy()
    values = pl.LazyFrame(schema={"action_id": pl.String, "value": pl.Float64})
    for _ in range(rounds - 1):
        values = _targets(moves, gamma, values, None).rename({"y": "value"}).collect().lazy()
    targets = _targets(moves, gamma, values, None)
    actions = moves.select("action_id", "n_samples", "successes").join(targets, on="action_id")
    return label_rows(paths, actions, "fitted_q", gamma, {"candidates": None, "rounds": rounds})


def candidate_actions(paths: pl.LazyFrame, candidates: int | None = None) -> pl.LazyFrame:
    """The actions whose values `fitted_q` asks: state_id and action_id, in stored order."""
    return _first(_moves(paths), candidates).select("state_id", "action_id")


def _moves(paths: pl.LazyFrame) -> pl.LazyFrame:
    """One row per action, in the order of the paths: where it leads, and what ended there.

    Returns:
        state_id, action_id, next_state (null where no path went on), reward (of paths that ended
        there, null where none did), n_samples, successes.
    """
    steps = steps_of(paths, SOURCES)
    last = pl.col("step_index") == pl.col("n_steps")
    ending = steps.with_columns(
        next_state=pl.when(~last).then(pl.col("state_id").shift(-1)),
        reward=pl.when(last).then(returns(1.0)),
    )
    return ending.group_by("action_id", maintain_order=True).agg(
        pl.col("state_id").first(),
        pl.col("next_state").drop_nulls().first(),
        pl.col("reward").max(),
        n_samples=pl.len().cast(pl.Int32),
        successes=pl.col("correct").sum().cast(pl.Int32),
    )


def _first(moves: pl.LazyFrame, candidates: int | None) -> pl.LazyFrame:
    if candidates is None:
        return moves
    return moves.filter(pl.int_range(pl.len()).over("state_id") < candidates)


def _targets(
    moves: pl.LazyFrame, gamma: float, values: pl.LazyFrame, candidates: int | None
) -> pl.LazyFrame:
    """action_id and y of every action: the reward, or the discounted value of the next state."""
    best = (
        _first(moves, candidates)
        .join(values, on="action_id", how="left")
        .group_by("state_id")
        .agg(following=pl.col("value").fill_null(0.0).max() * gamma)
    )
    return moves.join(best, left_on="next_state", right_on="state_id", how="left").select(
        "action_id", y=pl.max_horizontal("reward", "following")
    )
