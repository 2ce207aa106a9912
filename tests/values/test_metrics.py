from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.values.metrics import auc, brier, by_step, calibration_error, reliability

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


def test_figures_by_step_tell_final_from_first() -> None:
    frame = pl.DataFrame(
        {
            "step_index": [1, 2, 1, 2, 1],
            "n_steps": [2, 2, 2, 2, 1],
            "q": [0.9, 0.8, 0.1, 0.2, 0.7],
            "y": [1.0, 1.0, 0.0, 0.0, 1.0],
            "q_star": [1.0, 1.0, 1.0, 0.0, None],
        }
    )
    first, final = by_step(frame)
    assert (first["step"], first["n"], first["auc_label"]) == ("first", 2, 1.0)
    assert first["auc_truth"] is None  # no negatives
    assert (final["step"], final["n"], final["auc_truth"]) == ("final", 3, None)  # one unknown
