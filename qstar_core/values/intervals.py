"""Confidence intervals of figures whose rows belong together: the cluster bootstrap.

The steps of one problem share its difficulty and often their label, so that they are no
independent rows. Whole problems are drawn with replacement, as many as there are; a problem drawn
twice weighs two (Field and Welsh 2007). The bounds are percentiles, 2.5 and 97.5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from qstar_core.values.metrics import Array, dense

RESAMPLES = 500
SEED = 0
LEVEL = (0.025, 0.975)

Statistic = Callable[[Array], float]
"""A figure of the rows with these weights; nan where it is undefined."""


def intervals(
    statistics: Mapping[str, Statistic], clusters: Sequence[str], resamples: int = RESAMPLES
) -> dict[str, list[float] | None]:
    """95 % intervals of several figures of the same rows, from the same draws.

    Args:
        statistics: by name.
        clusters: [n], of each row the problem that it belongs to.
        resamples: draws of problems.

    Returns:
        [low, high] of each; None where there are fewer than two problems, or the figure is
        undefined in more than half of the draws. The same rows give the same bounds.
    """
    places = dense(np.asarray(clusters)) if len(clusters) else np.zeros(0, dtype=int)
    count = int(places.max()) + 1 if len(places) else 0
    if count < 2:
        return dict.fromkeys(statistics)
    rng = np.random.default_rng(SEED)
    found = np.full((len(statistics), resamples), np.nan)
    for draw in range(resamples):
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        weights = drawn[places].astype(float)
        for k, statistic in enumerate(statistics.values()):
            found[k, draw] = statistic(weights)
    return {name: _bounds(values) for name, values in zip(statistics, found, strict=True)}


def _bounds(values: Array) -> list[float] | None:
    known = values[~np.isnan(values)]
    if 2 * len(known) < len(values):
        return None
    return [round(float(bound), 6) for bound in np.quantile(known, LEVEL)]
