"""Aggregations of process rewards: g(s_t) = Agg(R_P(s_1) .. R_P(s_t)), Q* paper section 3.2.

The empty list, which belongs to the question before any step, aggregates to 0 in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def minimum(rewards: Sequence[float]) -> float:
    """The worst step counts; 0 for no steps."""
    return min(rewards, default=0.0)


def maximum(rewards: Sequence[float]) -> float:
    """The best step counts; 0 for no steps."""
    return max(rewards, default=0.0)


def total(rewards: Sequence[float]) -> float:
    """The sum over the steps; 0 for no steps."""
    return float(sum(rewards))


def last(rewards: Sequence[float]) -> float:
    """The latest step counts; 0 for no steps."""
    return rewards[-1] if rewards else 0.0


AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "min": minimum,
    "max": maximum,
    "sum": total,
    "last": last,
}
