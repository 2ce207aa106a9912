from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from qstar_core.values.metrics import auc, brier, calibration_error, reliability, spearman

ROWS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=30)


@given(ROWS)
def test_auc_is_the_share_of_ordered_pairs(rows: list[tuple[float, bool]]) -> None:
    scores, positive = (np.array(column) for column in zip(*rows, strict=True))
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in scores[positive]
        for b in scores[~positive]
    ]
    got = auc(scores, positive)
    assert math.isnan(got) if not pairs else got == pytest.approx(np.mean(pairs))


def test_perfect_and_useless_scores() -> None:
    truth = np.array([False, True, True])
    assert auc(np.array([0.1, 0.5, 0.9]), truth) == 1.0
    assert auc(np.array([0.5, 0.5, 0.5]), truth) == 0.5
    assert brier(np.array([0.0, 1.0]), np.array([0.0, 1.0])) == 0.0
    assert math.isnan(brier(np.array([]), np.array([])))


def test_calibration_by_hand() -> None:
    scores = np.array([0.05, 0.05, 0.95, 0.95])
    targets = np.array([0.0, 1.0, 1.0, 1.0])
    table = reliability(scores, targets)
    assert [(row["n"], row["rate"]) for row in table] == [(2, 0.5), (2, 1.0)]
    assert calibration_error(scores, targets) == pytest.approx((0.45 + 0.05) / 2)
    assert math.isnan(calibration_error(np.array([]), np.array([])))


@given(ROWS)
def test_calibration_error_is_bounded_and_bins_hold_all_rows(
    rows: list[tuple[float, bool]],
) -> None:
    scores, targets = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    assert 0.0 <= calibration_error(scores, targets) <= 1.0
    assert sum(row["n"] for row in reliability(scores, targets)) == len(rows)


WEIGHTED = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 3)), min_size=2, max_size=20
)


@given(WEIGHTED)
def test_a_weight_counts_like_so_many_equal_rows(rows: list[tuple[float, float, int]]) -> None:
    q, y, n = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    many_q, many_y = (np.repeat(column, n.astype(int)) for column in (q, y))
    for weighted, repeated in (
        (auc(q, y > 0.5, n), auc(many_q, many_y > 0.5)),
        (spearman(q, y, n), spearman(many_q, many_y)),
        (brier(q, y, n), brier(many_q, many_y)),
        (calibration_error(q, y, weights=n), calibration_error(many_q, many_y)),
    ):
        assert weighted == pytest.approx(repeated, nan_ok=True)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20))
def test_rank_correlation_is_that_of_scipy(rows: list[tuple[int, int]]) -> None:
    a, b = (np.array(column) for column in zip(*rows, strict=True))
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    else:
        assert math.isnan(spearman(a, b))
