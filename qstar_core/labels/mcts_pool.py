"""MCTS pool: the best return of the rollouts and of the trajectories that a tree search finished.

Q* (arXiv 2406.14283), section 3.2: the pool of "learning from rollout" may come from random
rollouts or from MCTS; the formula is that of `best_of_rollouts`. A search goes where answers were
found, so its pool has fewer false negatives for the same tokens, and its success rate is that of
the search, not of the policy: n_samples and successes describe the pool.

Worked example, gamma = 0.5. Two rollouts: (a, b) wrong, (c, d) wrong. The search finished
(a, e, f), correct, and (a, b), wrong again. y(a) = 0.5^2 = 0.25 from n = 3 with 1 success;
y(b) = 0 from n = 2; y(c) = y(d) = 0 from n = 1.
"""

from __future__ import annotations

import polars as pl

from qstar_core.labels.best_of_rollouts import best_by_action
from qstar_core.labels.steps import ROOT, label_rows

SOURCES = (ROOT, "mcts")


def mcts_pool(paths: pl.LazyFrame, gamma: float) -> pl.LazyFrame:
    """Labels every step of every rollout with the best return of rollouts and tree search.

    Args:
        paths: rollouts and pools (`qstar_core.rollouts.paths.PATHS`) of whole problems.
        gamma: discount per step, in (0, 1].

    Returns:
        Rows of `qstar_core.labels.schema.SCHEMA`; y in [0, 1].
    """
    return label_rows(paths, best_by_action(paths, SOURCES, gamma), "mcts_pool", gamma)
