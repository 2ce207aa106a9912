from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from qstar_core.values.siblings import figures, states

TYPES = {"q": pl.Float64, "y": pl.Float64}


def frame(rows: list[tuple[str, str, float, float]], step: int = 1, of: int = 2) -> pl.DataFrame:
    """Predictions from (state, action, q, y)."""
    names = ["state_id", "action_id", "q", "y"]
    found = pl.DataFrame(rows, schema=names, orient="row", schema_overrides=TYPES)
    place = {"step_index": pl.lit(step), "n_steps": pl.lit(of)}
    return found.with_columns(problem_id=pl.col("state_id"), **place)


def test_regret_by_hand() -> None:
    rows = [
        # the best one is worth 1, the one with the largest q 0.5
        ("s", "a", 0.2, 1.0),
        ("s", "b", 0.9, 0.5),
        ("s", "c", 0.1, 0.0),
        # the largest q is the best
        ("t", "a", 0.8, 1.0),
        ("t", "b", 0.3, 0.0),
        ("single", "a", 0.4, 1.0),
        ("equal", "a", 0.4, 0.0),
        ("equal", "b", 0.6, 0.0),
    ]
    found = states(frame(rows), "y")
    assert found.filter(state_id="s").row(0, named=True) == {
        "problem_id": "s",
        "state_id": "s",
        "step_index": 1,
        "final": False,
        "actions": 3,
        "equal": False,
        "regret": pytest.approx(0.5),
        "regret_random": pytest.approx(0.5),
        "best": 0.0,
        "spearman": pytest.approx(0.5),
    }
    told = figures(found)
    assert (told["states"], told["single"], told["equal"]) == (2, 1, 1)
    assert told["regret"] == pytest.approx(0.25) and told["best"] == 0.5
    assert told["regret_random"] == pytest.approx(0.5)
    assert told["intervals"]["regret"] == [0.0, 0.5]


def test_an_action_counts_once_however_often_it_was_sampled() -> None:
    rows = [("s", "a", 0.2, 1.0)] + [("s", "b", 0.9, 0.0)] * 9
    [row] = states(frame(rows), "y").rows(named=True)
    assert row["actions"] == 2 and row["regret_random"] == pytest.approx(0.5)


def test_between_equal_scores_the_choice_is_at_random() -> None:
    rows = [("s", "a", 0.5, 1.0), ("s", "b", 0.5, 0.0), ("s", "c", 0.1, 1.0)]
    [row] = states(frame(rows), "y").rows(named=True)
    assert row["regret"] == pytest.approx(0.5) and row["best"] == pytest.approx(0.5)
    [level] = states(frame([("s", "a", 0.5, 1.0), ("s", "b", 0.5, 0.0)]), "y").rows(named=True)
    assert level["spearman"] == 0.0


def test_nothing_to_choose_from_has_no_figures() -> None:
    told = figures(states(frame([("s", "a", 0.5, 1.0)], step=2), "y"))
    assert told["regret"] is None and told["intervals"]["best"] is None
    assert (told["states"], told["single"], told["equal"]) == (0, 1, 0)
    assert states(frame([("s", "a", 0.5, 1.0)], step=2), "y")["final"].to_list() == [True]


ACTIONS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=14
)


@given(ACTIONS)
def test_figures_equal_a_loop_over_the_states(rows: list[tuple[int, int, int]]) -> None:
    given_rows = [(f"s{s}", f"a{k}", q / 4, y / 4) for k, (s, q, y) in enumerate(rows)]
    told = figures(states(frame(given_rows), "y"))
    by_state: dict[str, list[tuple[float, float]]] = {}
    for state, _, q, y in given_rows:
        by_state.setdefault(state, []).append((q, y))
    expected: dict[str, list[Any]] = {"regret": [], "best": [], "spearman": []}
    for actions in by_state.values():
        q, y = (np.array(column) for column in zip(*actions, strict=True))
        if len(set(y)) < 2:
            continue
        chosen = y[q == q.max()]
        expected["regret"].append(y.max() - chosen.mean())
        expected["best"].append((chosen == y.max()).mean())
        expected["spearman"].append(spearmanr(q, y).statistic if len(set(q)) > 1 else 0.0)
    assert told["states"] == len(expected["regret"])
    assert told["states"] + told["single"] + told["equal"] == len(by_state)
    for name, values in expected.items():
        assert told[name] == (pytest.approx(np.mean(values), abs=1e-6) if values else None)
        assert not values or -1 <= told[name] <= 1
