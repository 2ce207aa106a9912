"""Rollouts to Q-labels: polars expressions, one module per method, one output schema.

Relabelling reads stored rollouts and never generates a token.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from qstar_core.labels.best_of_rollouts import best_of_rollouts
from qstar_core.labels.fitted_q import fitted_q

METHODS: dict[str, Callable[..., pl.LazyFrame]] = {
    "best_of_rollouts": best_of_rollouts,
    "fitted_q": fitted_q,
}
