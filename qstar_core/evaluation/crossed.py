"""Intervals of a difference that varies by problem and by seed of a training at once.

Each seed gives a learner, and all learners answer the same held-out problems. Both are samples: of
the trainings that could have been, and of the problems that could have been asked. A bootstrap that
resamples one of the two alone is too sure of the other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000


def crossed_bootstrap(
    differences: npt.ArrayLike, *, seed: int, resamples: int = RESAMPLES, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of a mean, rows and columns resampled independently of each other.

    Args:
        differences: [seeds, problems], of paired results; a single row resamples problems alone.
        seed: of numpy's default generator.
        resamples: bootstrap samples.
        level: coverage, in (0, 1).

    Returns:
        (low, high) of the mean of all.

    Raises:
        ValueError: there is no row or no column.
    """
    table = np.asarray(differences, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"differences of seeds and problems wanted, got the shape {table.shape}")
    rng = np.random.default_rng(seed)
    rows, columns = (rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n for n in table.shape)
    means = np.einsum("rs,sp,rp->r", rows, table, columns, optimize=True)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
