"""Rollouts to Q-labels: polars expressions, one module per method, one output schema.

Relabelling reads stored rollouts and never generates a token. A method takes *paths* of whole
problems - rollouts and what pools added, see `qstar_core.labels.steps` - and the discount, and
gives one row per step of every rollout (`qstar_core.labels.schema.SCHEMA`), in their order.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from qstar_core.labels.best_of_rollouts import best_of_rollouts
from qstar_core.labels.binary_search import binary_search
from qstar_core.labels.fitted_q import fitted_q
from qstar_core.labels.mcts_pool import mcts_pool
from qstar_core.labels.mean_of_rollouts import mean_of_rollouts
from qstar_core.labels.soft import soft
from qstar_core.labels.stronger_policy import stronger_policy

Method = Callable[..., pl.LazyFrame]
"""(paths, gamma, its own parameters by name) -> labels."""

METHODS: dict[str, Method] = {
    "best_of_rollouts": best_of_rollouts,
    "mcts_pool": mcts_pool,
    "fitted_q": fitted_q,
    "stronger_policy": stronger_policy,
    "mean_of_rollouts": mean_of_rollouts,
    "soft": soft,
    "binary_search": binary_search,
}
POOL_OF = {"mcts_pool": "mcts", "stronger_policy": "stronger", "binary_search": "binary_search"}
"""The kind of pool without which a method says no more than the rollouts."""
