"""Binary search: steps before the first wrong one are right, it and all after it are wrong.

OmegaPRM (arXiv 2406.06592), binary search: a step is right if some continuation from it reaches the
answer. If one does from a_t, one does from every step before, so the first wrong step of a
trajectory is found by bisection: continue from the middle, go right where that succeeds and left
where it fails, ceil(log2 T) times instead of T.

The bisection is done where it saves tokens: the pool ``binary_search`` samples continuations from
the middles alone. Here the label of a step is the best return of the rollouts and that pool, and
it is above 0 exactly before the first wrong step that bisection over all their paths ends at (a
test does that bisection). Every path through a step counts, not only the continuations that
were asked for at it, so no stored success is contradicted and one action has one label.

The paper has gamma = 1: labels are 1 and 0. With gamma < 1 a right step has the best discounted
return seen after it, as in `best_of_rollouts`; what differs from that method is the pool.

Worked example, gamma = 1. Rollouts: (a, b, c, d) and (a, e), wrong. From the middle, b, the pool
has (a, b, f), correct; from c, (a, b, c, g), wrong. The first wrong step is c: y(a) = y(b) = 1,
y(c) = y(d) = y(e) = 0. With gamma = 0.5 y(a) = 0.25 and y(b) = 0.5.
"""

from __future__ import annotations

import polars as pl

from qstar_core.labels.best_of_rollouts import best_by_action
from qstar_core.labels.steps import ROOT, label_rows

SOURCES = (ROOT, "binary_search")


def binary_search(paths: pl.LazyFrame, gamma: float) -> pl.LazyFrame:
    """Labels every step of every rollout by whether it comes before the first wrong step.

    Args:
        paths: rollouts and pools (`qstar_core.rollouts.paths.PATHS`) of whole problems.
        gamma: discount per step, in (0, 1].

    Returns:
        Rows of `qstar_core.labels.schema.SCHEMA`; y in {0, 1} at gamma = 1, else in [0, 1].
    """
    return label_rows(paths, best_by_action(paths, SOURCES, gamma), "binary_search", gamma)
