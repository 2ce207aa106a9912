from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qstar_core.evaluation.crossed import crossed_bootstrap

TABLES = arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(1, 20)), elements=st.floats(-1, 1)
)


@given(TABLES)
def test_the_interval_lies_within_the_values_and_moves_with_them(table: np.ndarray) -> None:
    low, high = crossed_bootstrap(table, seed=0, resamples=200)
    assert table.min() - 1e-9 <= low <= high <= table.max() + 1e-9
    moved = crossed_bootstrap(table + 1.0, seed=0, resamples=200)
    assert moved == pytest.approx((low + 1.0, high + 1.0))


def test_a_constant_difference_is_certain() -> None:
    assert crossed_bootstrap(np.full((5, 30), 0.25), seed=1) == pytest.approx((0.25, 0.25))


def test_both_seeds_and_problems_widen_it() -> None:
    rng = np.random.default_rng(0)
    by_problem = np.tile(rng.normal(size=(1, 200)), (5, 1))
    by_seed = np.tile(rng.normal(size=(5, 1)), (1, 200))
    both = by_problem + by_seed

    def width(table: np.ndarray) -> float:
        low, high = crossed_bootstrap(table, seed=2)
        return high - low

    assert width(both) > max(width(by_problem), width(by_seed))
    # of one source alone it is that source's standard error
    assert width(by_problem) == pytest.approx(3.92 * by_problem[0].std() / 200**0.5, rel=0.1)


def test_it_covers_what_is_true() -> None:
    rng = np.random.default_rng(3)
    hit = 0
    for k in range(200):
        table = rng.normal(size=(20, 1)) + rng.normal(size=(1, 40)) + rng.normal(size=(20, 40))
        low, high = crossed_bootstrap(table, seed=k, resamples=400)
        hit += low <= 0.0 <= high
    assert hit >= 175


def test_an_empty_table_has_none() -> None:
    with pytest.raises(ValueError, match="shape"):
        crossed_bootstrap(np.zeros((0, 4)), seed=0)
