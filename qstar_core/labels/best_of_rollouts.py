"""Best of rollouts: the label of a step is the best return seen after it.

Q* (arXiv 2406.14283), section 3.2, "learning from rollout": with R = 1 only on a correct last
step,

    y(s_t, a_t) = R(s_t, a_t) + max over pooled continuations of sum over t' > t of
                  gamma^(t' - t) R(s_t', a_t')  =  max over the pool of gamma^(T - t) [correct].

The pool of (s_t, a_t) is every stored path that passes through it: rollouts that share a prefix
share their continuations, and those of the pools ``states`` and ``binary_search`` belong to it,
so all rows with one action carry one label. The label never overestimates a return that was seen;
it is a lower bound of Q*, and its only error is a false negative where no path happened to
succeed.

Where pools are used, n_samples and successes describe the pool, whose paths were not drawn
independently from (s_t, a_t); for an estimate of the policy's success rate take
`mean_of_rollouts`.

Worked example, gamma = 0.5. Three rollouts of one problem: (a, b) correct, (a, c) wrong, (d, e)
wrong. y(a) = 0.5 from n = 2 with 1 success; y(b) = 1; y(c) = y(d) = y(e) = 0. A path (d, f, g)
of the pool ``states``, given d, correct: y(d) = 0.25 from n = 2 with 1 success.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from qstar_core.labels.steps import ROOT, by_action, label_rows, returns, steps_of

SOURCES = (ROOT, "states", "binary_search")


def best_of_rollouts(paths: pl.LazyFrame, gamma: float) -> pl.LazyFrame:
    """Labels every step of every rollout with the best return of the policy's paths through it.

    Args:
        paths: rollouts and pools (`qstar_core.rollouts.paths.PATHS`) of whole problems.
        gamma: discount per step, in (0, 1].

    Returns:
        Rows of `qstar_core.labels.schema.SCHEMA`; y in [0, 1].
    """
    return label_rows(paths, best_by_action(paths, SOURCES, gamma), "best_of_rollouts", gamma)


def best_by_action(paths: pl.LazyFrame, sources: Sequence[str], gamma: float) -> pl.LazyFrame:
    """The best return seen after each action on the paths of some sources, as `by_action`."""
    return by_action(steps_of(paths, sources), returns(gamma).max())
