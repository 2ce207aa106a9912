from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.config import ComparisonConfig, EvaluationConfig, RunConfig
from qstar_core.evaluation.metrics import holm
from qstar_core.evaluation.summary import summarise_sweep
from qstar_core.evaluation.sweep import adjust, reach, sweep
from qstar_core.keys import canonical_json

Solved = list[bool]
PROBLEMS = 20


def first(count: int, n: int = PROBLEMS) -> Solved:
    """The first ``count`` of ``n`` problems are solved."""
    return [i < count for i in range(n)]


def table(methods: dict[str, dict[float, Solved]]) -> pl.DataFrame:
    """Searches that spent 0.9 of their budget, with a correct trajectory at half of it."""
    rows: list[dict[str, Any]] = [
        {
            "problem_id": f"p{i}",
            "method": method,
            "algorithm": "astar" if method == "A*" else "best_of_n",
            "budget": float(budget),
            "outcome": "correct" if right else "wrong",
            "policy_tokens": round(0.9 * budget),
            "value_calls": 3,
            "expansions": 2,
            "first_correct": round(0.5 * budget) if right else None,
        }
        for method, sweeps in methods.items()
        for budget, solved in sweeps.items()
        for i, right in enumerate(solved)
    ]
    return pl.DataFrame(rows, schema_overrides={"first_correct": pl.Int32})


def seconds(frame: pl.DataFrame) -> dict[tuple[str, float], float]:
    return {(m, b): b / 10 for m, b in frame.select("method", "budget").unique().iter_rows()}


EXAMPLE = table(
    {
        "best": {100: first(4), 200: first(8), 400: first(10)},
        "A*": {100: first(10), 200: first(16), 400: first(18)},
        "beam": {100: first(0), 200: first(8), 400: first(9)},
    }
)


def test_a_sweep_by_hand() -> None:
    rows = sweep(EXAMPLE, seconds(EXAMPLE), "best", resamples=2000)
    assert [(r["budget"], r["method"]) for r in rows] == [
        (b, m) for b in (100, 200, 400) for m in ("best", "A*", "beam")
    ]
    base, star, beam = rows[:3]
    assert base["verdict"] == "baseline"
    assert base["p_value"] is None and base["p_adjusted"] is None
    assert (star["accuracy"], star["difference"], star["p_value"]) == (0.5, 0.3, 2 / 2**6)
    assert (star["policy_tokens"], star["seconds"], star["oracle"]) == (90.0, 10.0, 0.5)
    assert (beam["accuracy"], beam["oracle"], beam["p_value"]) == (0.0, 0.0, 2 / 2**4)
    # all six comparisons: 6 wins, 8 wins, 8 wins; 4 losses, none, 1 loss
    raw = [2 / 2**6, 2 / 2**4, 2 / 2**8, 1.0, 2 / 2**8, 1.0]
    tested = [r for r in rows if r["method"] != "best"]
    assert [r["p_value"] for r in tested] == pytest.approx(raw)
    assert [r["p_adjusted"] for r in tested] == pytest.approx(
        [4 * 2 / 2**6, 3 * 2 / 2**4, 6 * 2 / 2**8, 1.0, 6 * 2 / 2**8, 1.0]
    )
    assert [r["verdict"] for r in tested] == [
        "not significant",  # p = 0.03 alone, 0.125 among six
        "not significant",
        "better",
        "not significant",
        "better",
        "not significant",
    ]


def test_without_correction_the_p_values_stay() -> None:
    rows = sweep(EXAMPLE, seconds(EXAMPLE), "best", "none", resamples=2000)
    assert all(row["p_adjusted"] == row["p_value"] for row in rows)
    assert rows[1]["verdict"] == "better"


def test_accuracy_and_tokens_of_equal_accuracy_by_hand() -> None:
    rows = sweep(EXAMPLE, seconds(EXAMPLE), "best", resamples=2000)
    found = reach(EXAMPLE, rows, "best", resamples=2000)
    assert [(r["target_budget"], r["method"], r["budget"]) for r in found] == [
        (100, "A*", 100),
        (100, "beam", 200),
        (200, "A*", 100),
        (200, "beam", 200),
        (400, "A*", 100),
        (400, "beam", None),
    ]
    star = found[4]
    assert (star["target"], star["accuracy"], star["difference"]) == (0.5, 0.5, 0.0)
    assert (star["target_tokens"], star["policy_tokens"], star["ratio"]) == (360.0, 90.0, 4.0)
    assert (star["difference_low"], star["difference_high"], star["p_value"]) == (0.0, 0.0, 1.0)
    assert found[2]["difference"] == pytest.approx(0.1)
    assert set(found[5]) == set(star) and found[5]["ratio"] is None


def test_the_manifest_has_the_sweep_and_sums_the_seconds_of_shards(tmp_path: Path) -> None:
    file = str(tmp_path / "part.parquet")
    EXAMPLE.write_parquet(file)
    receipts = [
        {"figures": {"method": method, "budget": int(budget), "seconds": s}}
        for (method, budget), s in seconds(EXAMPLE).items()
        for _ in range(2)
    ]
    methods = [
        {"name": "best", "algorithm": "best_of_n"},
        {"name": "A*", "algorithm": "astar"},
        {"name": "beam", "algorithm": "beam"},
    ]
    config = RunConfig(
        evaluation=EvaluationConfig(bootstrap_samples=2000),
        comparison=ComparisonConfig.model_validate({"methods": methods, "baseline": "best"}),
    )
    figures = summarise_sweep([file], receipts, config)
    rows = sweep(EXAMPLE, seconds(EXAMPLE), "best", resamples=2000)
    assert figures["sweep"] == [{**row, "seconds": 2 * row["seconds"]} for row in rows]
    assert len(figures["reach"]) == 6
    assert json.loads(canonical_json(figures)) == figures


budgets = st.dictionaries(
    st.sampled_from([50, 100, 200]),
    st.lists(st.booleans(), min_size=6, max_size=6),
    min_size=3,
    max_size=3,
)


@given(budgets, budgets)
@settings(max_examples=30)
def test_no_smaller_budget_reaches_the_target_and_the_family_is_the_sweep(
    best: dict[float, Solved], star: dict[float, Solved]
) -> None:
    frame = table({"best": best, "A*": star})
    rows = sweep(frame, seconds(frame), "best", resamples=200)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=1).sort("method", descending=True)
    again = sweep(shuffled, seconds(frame), "best", resamples=200)
    assert again == rows
    share = {r["budget"]: r["accuracy"] for r in rows if r["method"] == "A*"}
    for row in reach(frame, rows, "best", resamples=200):
        enough = [b for b, accuracy in share.items() if accuracy >= row["target"]]
        assert row["budget"] == min(enough, default=None)
    tested = [r for r in rows if r["p_value"] is not None]
    assert [r["p_adjusted"] for r in tested] == holm([r["p_value"] for r in tested])
    for row in tested:
        if row["verdict"] != "not significant":
            assert row["p_adjusted"] < 0.05


def test_rows_without_a_p_value_are_no_part_of_the_family() -> None:
    rows = [
        {"p_value": None, "verdict": "baseline"},
        {"p_value": 0.04, "difference_low": 0.1, "difference_high": 0.3, "verdict": ""},
    ]
    adjust(rows, "holm")
    assert rows[0] == {"p_value": None, "p_adjusted": None, "verdict": "baseline"}
    assert (rows[1]["p_adjusted"], rows[1]["verdict"]) == (0.04, "better")
