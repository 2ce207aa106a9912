"""The numbers in the docstrings of the methods."""

from __future__ import annotations

import math

import polars as pl
import pytest

from qstar_core.labels.best_of_rollouts import best_of_rollouts
from qstar_core.labels.binary_search import binary_search
from qstar_core.labels.fitted_q import candidate_actions, fitted_q, fitted_q_tabular
from qstar_core.labels.mcts_pool import mcts_pool
from qstar_core.labels.mean_of_rollouts import mean_of_rollouts
from qstar_core.labels.soft import soft
from qstar_core.labels.stronger_policy import stronger_policy
from tests.labels.paths import Path, rows, table

ROLLOUTS = [Path("ab", True), Path("ac"), Path("de")]


def labels(frame: pl.LazyFrame) -> dict[str, tuple[float, int, int]]:
    """(y, samples, successes) by action text; a text that comes twice has one label."""
    found: dict[str, tuple[float, int, int]] = {}
    for action, *label in rows(frame, "action", "y", "n_samples", "successes"):
        assert found.setdefault(action, tuple(label)) == tuple(label)
    return found


def test_best_of_rollouts() -> None:
    frame = best_of_rollouts(table(ROLLOUTS), 0.5)
    assert labels(frame) == {
        "a": (0.5, 2, 1),
        "b": (1.0, 1, 1),
        "c": (0.0, 1, 0),
        "d": (0.0, 1, 0),
        "e": (0.0, 1, 0),
    }
    interval = rows(frame, "success_low", "success_high")[0]
    assert interval == pytest.approx((0.0945, 0.9055), abs=1e-4)
    with_pool = labels(best_of_rollouts(table([*ROLLOUTS, Path("dfg", True, "states", 1)]), 0.5))
    assert with_pool["d"] == (0.25, 2, 1)


def test_mcts_pool() -> None:
    found = [Path("aef", True, "mcts", 2), Path("ab", False, "mcts", 1)]
    assert labels(mcts_pool(table([Path("ab"), Path("cd"), *found]), 0.5)) == {
        "a": (0.25, 3, 1),
        "b": (0.0, 2, 0),
        "c": (0.0, 1, 0),
        "d": (0.0, 1, 0),
    }


def test_mean_of_rollouts() -> None:
    pool = [Path("afb", True, "states", 1), Path("ac", False, "states", 2)]
    found = labels(mean_of_rollouts(table([*ROLLOUTS, *pool]), 0.5))
    assert found["a"] == (0.25, 3, 2)
    assert found["b"] == (1.0, 1, 1)
    assert found["c"] == (0.0, 2, 0)


def test_soft() -> None:
    paths = table(ROLLOUTS[:2])
    frame = soft(paths, 0.5, 0.5)
    assert [round(y, 3) for (y,) in rows(frame, "y")] == [0.31, 1.0, 0.31, 0.0]
    assert labels(frame)["a"][0] == pytest.approx(0.5 * math.log((math.e + 1) / 2))
    assert set(rows(frame, "parameters")) == {('{"eta":0.5}',)}
    assert labels(soft(paths, 0.5, 0.002))["a"][0] == pytest.approx(0.5 - 0.002 * math.log(2))
    with pytest.raises(ValueError, match="best_of_rollouts"):
        soft(paths, 0.5, 1e-9)
    assert labels(soft(paths, 0.5, 1e6))["a"][0] == pytest.approx(0.25)


def test_stronger_policy() -> None:
    completions = [
        Path("ae", True, "stronger", 1),
        Path("af", False, "stronger", 1),
        Path("cgh", True, "stronger", 1),
    ]
    paths = table([Path("ab"), Path("cd", True), *completions])
    assert labels(stronger_policy(paths, 0.5)) == {
        "a": (0.5, 2, 1),
        "b": (0.0, 1, 0),
        "c": (0.25, 1, 1),
        "d": (1.0, 1, 1),
    }
    assert labels(stronger_policy(paths, 0.5, "mean"))["a"] == (0.25, 2, 1)


def test_binary_search() -> None:
    pool = [Path("abf", True, "binary_search", 2), Path("abcg", False, "binary_search", 3)]
    paths = table([Path("abcd"), Path("ae"), *pool])
    y = {action: label[0] for action, label in labels(binary_search(paths, 1.0)).items()}
    assert y == {"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0, "e": 0.0}
    y = {action: label[0] for action, label in labels(binary_search(paths, 0.5)).items()}
    assert y == {"a": 0.25, "b": 0.5, "c": 0.0, "d": 0.0, "e": 0.0}


FITTED = [Path("ab"), Path("ac", True), Path("de")]


def test_fitted_q() -> None:
    values = pl.LazyFrame(
        {"action_id": ["p/ab", "p/ac", "p/de"], "value": [0.2, 0.6, 0.1]},
    )
    y = {a: label[0] for a, label in labels(fitted_q(table(FITTED), 0.5, values)).items()}
    assert y == pytest.approx({"a": 0.3, "b": 0.0, "c": 1.0, "d": 0.05, "e": 0.0})
    first = fitted_q(table(FITTED), 0.5, values, candidates=1)
    assert labels(first)["a"][0] == pytest.approx(0.1)
    asked = rows(candidate_actions(table(FITTED), 1), "state_id", "action_id")
    assert asked == [("p/.", "p/a"), ("p/a.", "p/ab"), ("p/d.", "p/de")]


def test_fitted_q_tabular() -> None:
    def y(rounds: int) -> dict[str, float]:
        found = labels(fitted_q_tabular(table(FITTED), 0.5, rounds))
        return {action: label[0] for action, label in found.items()}

    assert y(1) == {"a": 0.0, "b": 0.0, "c": 1.0, "d": 0.0, "e": 0.0}
    assert y(2) == y(3) == y(9) == {**y(1), "a": 0.5}
