from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, mannwhitneyu

from qstar_core.evaluation.metrics import (
    auc,
    brier,
    calibration_error,
    discordant,
    holm,
    mcnemar,
    paired_bootstrap,
    reliability,
    wilson,
)

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
scored = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), st.booleans()),
    min_size=1,
    max_size=40,
)


def columns(rows: list[tuple[bool, bool]]) -> tuple[np.ndarray, np.ndarray]:
    a, b = zip(*rows, strict=True)
    return np.array(a), np.array(b)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson(successes, n, 0.9)
    expected = binomtest(successes, n).proportion_ci(0.9, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= successes / n <= high <= 1


def test_wilson_at_the_edges() -> None:
    assert all(math.isnan(end) for end in wilson(0, 0))
    assert wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == 1
    for successes, n in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match=r"must be in 0\.\.2"):
            wilson(successes, n)
    with pytest.raises(ValueError, match="level"):
        wilson(1, 2, 1.0)


@given(pairs)
def test_mcnemar_sums_the_binomial_tails(rows: list[tuple[bool, bool]]) -> None:
    solved, baseline = columns(rows)
    won = sum(a and not b for a, b in rows)
    lost = sum(b and not a for a, b in rows)
    assert discordant(solved, baseline) == (won, lost)
    differing = won + lost
    tail = sum(math.comb(differing, k) for k in range(min(won, lost) + 1)) / 2**differing
    assert mcnemar(solved, baseline) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(baseline, solved) == mcnemar(solved, baseline)


def test_mcnemar_without_a_differing_pair() -> None:
    same = np.array([True, False, True])
    assert mcnemar(same, same) == 1.0
    assert mcnemar(np.array([], bool), np.array([], bool)) == 1.0


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="one length"):
        discordant(np.array([True]), np.array([True, False]))


def test_the_bootstrap_agrees_with_one_that_draws_problems() -> None:
    rng = np.random.default_rng(3)
    solved, baseline = rng.random(400) < 0.6, rng.random(400) < 0.5
    low, high = paired_bootstrap(solved, baseline, seed=1)
    drawn = rng.integers(0, 400, size=(4000, 400))
    slow = (solved.astype(float) - baseline)[drawn].mean(axis=1)
    assert (low, high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=0.008)


@given(pairs, st.integers(0, 2**32))
@settings(max_examples=50)
def test_properties_of_the_bootstrap(rows: list[tuple[bool, bool]], seed: int) -> None:
    solved, baseline = columns(rows)
    low, high = paired_bootstrap(solved, baseline, seed=seed, resamples=300)
    assert -1 <= low <= high <= 1
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    again = paired_bootstrap(solved[shuffled], baseline[shuffled], seed=seed, resamples=300)
    assert again == (low, high)
    narrow = paired_bootstrap(solved, baseline, seed=seed, resamples=300, level=0.5)
    assert low <= narrow[0] <= narrow[1] <= high


def test_the_bootstrap_at_the_edges() -> None:
    none = np.array([], bool)
    assert all(math.isnan(end) for end in paired_bootstrap(none, none, seed=0))
    same = np.array([True, False])
    assert paired_bootstrap(same, same, seed=0) == (0.0, 0.0)
    assert paired_bootstrap(same, same, seed=0) == paired_bootstrap(same, same, seed=9)


def test_the_bootstrap_interval_covers_the_true_difference() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        luck = rng.random(200)
        low, high = paired_bootstrap(luck < 0.6, luck[::-1] < 0.5, seed=seed, resamples=1000)
        hits += low <= 0.1 <= high
    assert hits / 200 > 0.88


@given(scored)
def test_auc_equals_mann_whitney_and_the_share_of_ordered_pairs(
    rows: list[tuple[float, bool]],
) -> None:
    scores = np.array([score for score, _ in rows])
    positive = np.array([flag for _, flag in rows])
    value = auc(scores, positive)
    if positive.all() or not positive.any():
        assert math.isnan(value)
        return
    above, below = scores[positive], scores[~positive]
    statistic = mannwhitneyu(above, below).statistic / (len(above) * len(below))
    ordered = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(above, below)]
    assert value == pytest.approx(statistic) == pytest.approx(sum(ordered) / len(ordered))


@given(scored)
def test_calibration_equals_a_loop_over_bins(rows: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in rows])
    targets = np.array([float(flag) for _, flag in rows])
    bins: dict[int, list[tuple[float, float]]] = {}
    for score, target in zip(scores, targets, strict=True):
        bins.setdefault(min(int(score * 10), 9), []).append((score, target))
    error = sum(abs(sum(s - t for s, t in rows)) for rows in bins.values()) / len(scores)
    assert calibration_error(scores, targets) == pytest.approx(error)
    assert brier(scores, targets) == pytest.approx(sum((scores - targets) ** 2) / len(scores))
    table = reliability(scores, targets)
    assert sum(row["n"] for row in table) == len(scores)
    rounding = 1e-9
    for row in table:
        assert row["low"] - rounding <= row["mean_q"] <= row["high"] + rounding


def test_figures_without_rows_are_undefined() -> None:
    none = np.array([])
    assert all(math.isnan(f(none, none)) for f in (auc, brier, calibration_error))
    assert reliability(none, none) == []


def test_holm_by_hand() -> None:
    """Holm 1979: 4 x 0.01, then 3 x 0.02, 2 x 0.03 and 1 x 0.04, none below the one before."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_p_value_and_bonferroni_and_keeps_the_order(
    p_values: list[float],
) -> None:
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p) + 1e-12
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)
    assert holm(p_values[::-1]) == adjusted[::-1]
