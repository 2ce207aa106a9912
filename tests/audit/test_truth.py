from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.audit import truth
from qstar_core.audit.source import as_problems, open_labels
from qstar_core.audit.truth import against_truth, errors, exact
from qstar_core.domains import countdown
from qstar_core.labels.best_of_rollouts import best_of_rollouts
from tests.audit.examples import (
    BAD,
    END,
    GOOD,
    LOSE,
    POOL_TOKENS,
    PROBLEM,
    WIN,
    Play,
    as_paths,
    path,
    rollouts,
    write_run,
)


def best(paths: pl.LazyFrame) -> pl.LazyFrame:
    return best_of_rollouts(paths, 1.0)


def compared(labels: str, calls: dict[str, truth.Call], limit: int = 1000) -> dict[str, Any]:
    source = open_labels(labels)
    return against_truth(source, as_problems(source.problems()), calls, limit)


def test_the_exact_values_of_all_actions() -> None:
    plays: list[Play] = [[GOOD, WIN], [GOOD, LOSE], [BAD, END], [GOOD, WIN]]
    roots = as_paths(rollouts(plays)).collect()
    found = exact(roots, {PROBLEM.id: PROBLEM}, 0.5)
    texts = {step["action_id"]: step["text"] for row in roots["steps"].to_list() for step in row}
    values = {texts[action]: q for action, q in found.iter_rows()}
    assert values == {GOOD: 0.5, WIN: 1.0, LOSE: 0.0, BAD: 0.0, END: 0.0}
    assert not countdown.solvable(countdown.walk(PROBLEM, [BAD])[0], 6)  # type: ignore[arg-type]


def groups(*ys: tuple[float, float]) -> pl.DataFrame:
    """One action, (q, y) of each group, one row each."""
    return pl.DataFrame(
        {
            "action_id": ["a"] * len(ys),
            "q": [q for q, _ in ys],
            "y": [y for _, y in ys],
            "error": [(y - q) ** 2 for q, y in ys],
            "rows": [1] * len(ys),
        }
    )


def test_the_worked_example() -> None:
    found = errors(groups((1.0, 1.0), (1.0, 0.0), (1.0, 1.0), (1.0, 1.0)))
    assert (found["bias"] / found["rows"], found["mse"] / found["rows"]) == (-0.25, 0.25)
    assert found["bias2"] == pytest.approx(0.0)
    assert (found["mse_shared"] - found["bias2"]) / found["shared"] == pytest.approx(0.25)


def test_an_action_of_one_group_says_nothing_of_the_variance() -> None:
    found = errors(groups((1.0, 0.0)))
    assert (found["rows"], found["mse"], found["shared"], found["bias2"]) == (1, 1.0, 0, 0.0)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.floats(0, 1))
def test_bias_and_variance_add_up_to_the_error_and_are_unbiased(ys: list[float], q: float) -> None:
    found = errors(groups(*((q, y) for y in ys)))
    n, rows = len(ys), found["rows"]
    mean = sum(ys) / n
    variance = sum((y - mean) ** 2 for y in ys) / (n - 1)
    mse = sum((y - q) ** 2 for y in ys) / n
    assert found["mse"] / rows == pytest.approx(mse, abs=1e-12)
    assert found["bias2"] / rows == pytest.approx((mean - q) ** 2 - variance / n, abs=1e-12)
    assert (found["mse"] - found["bias2"]) / rows == pytest.approx(variance, abs=1e-12)


def test_best_of_rollouts_by_hand(tmp_path: Path) -> None:
    # groups of one: GOOD has y = 1, 0, 1, 0; groups of two: 1 and 1; of four: 1
    plays: list[Play] = [[GOOD, WIN], [GOOD, LOSE], [GOOD, WIN], [BAD, END]]
    plays[3] = [GOOD, LOSE]
    found = compared(write_run(tmp_path, {PROBLEM: plays}), {"best_of_rollouts": best})
    assert (found["problems"], found["gamma"]) == (1, 1.0)
    one, two, four = found["rows"]
    assert [row["n"] for row in (one, two, four)] == [1, 2, 4]
    assert [row["groups"] for row in (one, two, four)] == [4, 2, 1]
    assert {row["rows"] for row in (one, two, four)} == {8}
    # GOOD has 4 of 8 rows; the last lines are exact
    assert (one["bias"], one["mse"]) == (-0.25, 0.25)
    # y of GOOD: mean 1/2, s^2 = 1/3; bias^2 = 1/4 - 1/12 = 1/6; variance = 1/2 - 1/6 = 1/3
    assert one["share"] == 1.0
    assert one["bias2"] == pytest.approx(1 / 6 / 2)
    assert one["variance"] == pytest.approx(1 / 3 / 2)
    assert (two["bias"], two["mse"], two["bias2"], two["variance"]) == (0, 0, 0, 0)
    assert (four["mse"], four["bias2"], four["variance"], four["share"]) == (0, None, None, 0)
    assert [row["tokens"] for row in (one, two, four)] == [20, 40, 80]


def test_figures_of_several_files_add_up(tmp_path: Path) -> None:
    other = countdown.make_problem([1, 1, 4], 6)
    plays: list[Play] = [["4 + 1 = 5 | 5 1 > 6\n", "5 + 1 = 6 | 6 > 6"]] * 2
    labels = write_run(tmp_path, {PROBLEM: [[GOOD, LOSE]] * 2, other: plays})
    found = compared(labels, {"best_of_rollouts": best})
    assert found["problems"] == 2
    assert found["rows"][0]["rows"] == 8
    assert found["rows"][0]["bias"] == -0.25
    assert compared(labels, {"best_of_rollouts": best}, limit=1)["problems"] == 1


def test_a_method_without_its_pool_says_which(tmp_path: Path) -> None:
    labels = write_run(tmp_path, {PROBLEM: [[GOOD, WIN]]})
    found = compared(labels, {"mcts_pool": best, "best_of_rollouts": best})
    assert [row["method"] for row in found["rows"]] == ["best_of_rollouts", "mcts_pool"]
    assert found["rows"][1]["note"] == "needs a pool: pools: [{name: mcts, kind: mcts}]"


def test_a_method_is_given_its_pools_and_no_other(tmp_path: Path) -> None:
    roots: list[Play] = [[GOOD, LOSE]] * 4
    states = [path(PROBLEM, [GOOD, WIN], k, source="states", prefix_steps=1) for k in range(2)]
    tree = [path(PROBLEM, [GOOD, WIN], k, source="mcts", prefix_steps=1) for k in range(3)]
    labels = write_run(tmp_path, {PROBLEM: roots}, pools={"states": states, "mcts": tree})
    seen: dict[str, set[str]] = {}

    def noting(name: str) -> truth.Call:
        def call(paths: pl.LazyFrame) -> pl.LazyFrame:
            frame = paths.collect()
            seen.setdefault(name, set()).update(frame["source"])
            own = frame.filter(pl.col("source") == "rollouts")
            return best_of_rollouts(own.lazy(), 1.0)

        return call

    calls = {name: noting(name) for name in ("best_of_rollouts", "mcts_pool", "mean_of_rollouts")}
    found = compared(labels, calls)
    assert seen["best_of_rollouts"] == seen["mean_of_rollouts"] == {"rollouts", "states"}
    assert seen["mcts_pool"] == {"rollouts", "mcts"}
    by_name = {(row["method"], row["n"]): row for row in found["rows"]}
    # two groups of the pool; the paths of a tree are no independent groups
    assert by_name["best_of_rollouts", 1]["groups"] == 2
    assert by_name["mcts_pool", 1]["groups"] == 1
    assert by_name["best_of_rollouts", 1]["tokens"] == 40  # a rollout and a continuation
    # what the manifest says of the whole search, and nothing of a part of it
    assert by_name["mcts_pool", 4]["tokens"] == 20 * 4 + POOL_TOKENS
    assert by_name["mcts_pool", 1]["tokens"] is by_name["mcts_pool", 2]["tokens"] is None
    assert [n for name, n in by_name if name == "mcts_pool"] == [1, 2, 4]


def test_a_search_with_more_paths_than_rollouts_is_given_whole_at_last(tmp_path: Path) -> None:
    tree = [path(PROBLEM, [GOOD, WIN], k, source="mcts", prefix_steps=1) for k in range(3)]
    labels = write_run(tmp_path, {PROBLEM: [[GOOD, LOSE]] * 2}, pools={"mcts": tree})
    found = compared(labels, {"mcts_pool": best, "best_of_rollouts": best})
    rows = {(row["method"], row["n"]): row["tokens"] for row in found["rows"]}
    assert [n for name, n in rows if name == "best_of_rollouts"] == [1, 2]
    assert [n for name, n in rows if name == "mcts_pool"] == [1, 2, 3]
    assert rows["mcts_pool", 2] is None and rows["mcts_pool", 3] == 20 * 2 + POOL_TOKENS


def test_all_seven_methods_are_called_with_their_parameters(tmp_path: Path) -> None:
    settings = {"method": "soft", "gamma": 1.0, "eta": 0.1, "reduce": "max", "rounds": 3}
    calls = truth.methods(settings)
    assert list(calls) == list(truth.USES)
    roots = rollouts([[GOOD, WIN], [GOOD, LOSE]])
    values = {}
    for name, call in calls.items():
        frame = call(as_paths(roots)).collect()
        values[name] = frame["y"][0]
        assert frame["method"].unique().to_list() == [name]
        assert len(frame) == 4
    assert values["best_of_rollouts"] == values["fitted_q"] == 1.0
    assert values["mean_of_rollouts"] == 0.5
    assert 0.5 < values["soft"] < 1.0
