"""All methods: the same rows, and what a plain loop finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.config import LabelsConfig
from qstar_core.labels import METHODS, POOL_OF
from qstar_core.labels.schema import SCHEMA, to_table
from tests.labels import reference
from tests.labels.paths import GAMMAS, TREES, Path, roots, rows, table

NO_VALUES = pl.LazyFrame(schema={"action_id": pl.String, "value": pl.Float64})
PARAMETERS: dict[str, dict[str, Any]] = {
    "soft": {"eta": 0.5},
    "fitted_q": {"values": NO_VALUES, "candidates": None},
}


@pytest.mark.parametrize("method", METHODS)
@given(TREES, GAMMAS)
def test_one_row_per_step_of_each_rollout_in_their_order(
    method: str, paths: list[Path], gamma: float
) -> None:
    frame = METHODS[method](table(paths), gamma, **PARAMETERS.get(method, {})).collect()
    expected = [
        (path.problem, path.action_id(t), path.state_id(t), t, len(path.actions))
        for path in roots(paths)
        for t in range(1, len(path.actions) + 1)
    ]
    ids = frame.select("problem_id", "action_id", "state_id", "step_index", "n_steps")
    assert ids.rows() == expected
    assert to_table(frame).schema == SCHEMA  # nothing is missing, of the right types
    assert frame["y"].is_between(0, 1).all()
    assert (
        frame.filter(pl.col("successes") == 0, pl.col("y") > 0).is_empty() or method == "fitted_q"
    )
    assert (frame["n_samples"] >= 1).all() and (frame["successes"] <= frame["n_samples"]).all()
    rate = frame["successes"] / frame["n_samples"]
    assert ((frame["success_low"] <= rate + 1e-12) & (rate <= frame["success_high"] + 1e-12)).all()
    assert set(frame["method"]) == {method} and set(frame["gamma"]) == {gamma}
    labels = frame.select("action_id", "y").unique()
    assert len(labels) == labels["action_id"].n_unique()  # one action, one label


def same(labels: pl.LazyFrame, expected: Sequence[reference.Label]) -> None:
    found = rows(labels, "y", "n_samples", "successes")
    assert len(found) == len(expected)
    for (y, *counts), (expected_y, *expected_counts) in zip(found, expected, strict=True):
        assert y == pytest.approx(expected_y, abs=1e-12)
        assert counts == expected_counts


@pytest.mark.parametrize(
    "method", ["best_of_rollouts", "mcts_pool", "mean_of_rollouts", "binary_search"]
)
@given(TREES, GAMMAS)
def test_as_plain_loops_find(method: str, paths: list[Path], gamma: float) -> None:
    same(METHODS[method](table(paths), gamma), getattr(reference, method)(paths, gamma))


@given(TREES, GAMMAS, st.sampled_from([0.05, 0.5, 3.0]))
def test_soft_as_plain_loops_find(paths: list[Path], gamma: float, eta: float) -> None:
    same(METHODS["soft"](table(paths), gamma, eta=eta), reference.soft(paths, gamma, eta))


@given(TREES, GAMMAS, st.sampled_from(["max", "mean"]))
def test_stronger_policy_as_plain_loops_find(paths: list[Path], gamma: float, how: str) -> None:
    labels = METHODS["stronger_policy"](table(paths), gamma, reduce=how)
    same(labels, reference.stronger_policy(paths, gamma, how))


@given(TREES, GAMMAS, st.sampled_from([None, 1, 2]), st.data())
def test_fitted_q_as_plain_loops_find(
    paths: list[Path], gamma: float, candidates: int | None, data: st.DataObject
) -> None:
    actions = sorted({p.action_id(t) for p in paths for t in range(1, len(p.actions) + 1)})
    some = data.draw(st.lists(st.sampled_from(actions), unique=True))
    values = {action: data.draw(st.floats(0, 1)) for action in some}
    known = pl.LazyFrame(
        {"action_id": list(values), "value": list(values.values())},
        schema={"action_id": pl.String, "value": pl.Float64},
    )
    labels = METHODS["fitted_q"](table(paths), gamma, values=known, candidates=candidates)
    same(labels, reference.fitted_q(paths, gamma, values, candidates))


def test_the_configuration_knows_the_methods_and_their_parameters() -> None:
    paths = table([Path("ab", True)])
    for method in set(METHODS) - {"fitted_q"}:
        config = LabelsConfig.model_validate({"method": method, "eta": 0.7, "reduce": "mean"})
        frame = METHODS[method](paths, config.gamma, **config.parameters()).collect()
        assert frame["y"].to_list() == pytest.approx([1, 1])
    soft = LabelsConfig(method="soft", eta=0.7)
    assert soft.rows() == {"method": "soft", "gamma": 1.0, "eta": 0.7}
    assert LabelsConfig(eta=0.7).rows() == {"method": "best_of_rollouts", "gamma": 1.0}
    assert set(POOL_OF) <= set(METHODS)
