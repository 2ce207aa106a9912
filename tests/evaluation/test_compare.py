from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.evaluation.compare import FAILURES, OUTCOMES, accuracy_by_tokens, compare
from qstar_core.keys import canonical_json
from tests.evaluation.examples import report_data

ANYTIME = pl.List(pl.Struct({"tokens": pl.Int32, "correct": pl.Boolean}))
SECONDS = {"best-of-N": 40.0, "A*": 38.5}
PERFECT = [("correct", 100)] * 12
POOR = [("wrong", 400)] * 12


def table(**methods: list[tuple[str, int]]) -> pl.DataFrame:
    """Searches of `best` (best-of-N) and `astar` (A*): outcome and tokens of each problem."""
    names = {"best": ("best-of-N", "best_of_n"), "astar": ("A*", "astar")}
    rows: list[dict[str, Any]] = [
        {
            "problem_id": f"p{i}",
            "method": names[key][0],
            "algorithm": names[key][1],
            "outcome": outcome,
            "policy_tokens": tokens,
            "anytime": [{"tokens": tokens, "correct": True}] if outcome == "correct" else [],
            "value_calls": tokens // 10,
            "expansions": 7,
        }
        for key, cells in methods.items()
        for i, (outcome, tokens) in enumerate(cells)
    ]
    return pl.DataFrame(rows, schema_overrides={"anytime": ANYTIME})


cells = st.lists(
    st.tuples(st.sampled_from(OUTCOMES), st.sampled_from([0, 33, 200, 400])),
    min_size=1,
    max_size=30,
)


def test_a_clear_gain() -> None:
    base, best = compare(table(best=POOR, astar=PERFECT), SECONDS, "best-of-N")
    assert base["verdict"] == "baseline" and base["difference"] is None
    assert best["verdict"] == "better"
    assert (best["n"], best["correct"], best["accuracy"], best["pairs"]) == (12, 12, 1.0, 12)
    assert (best["difference"], best["p_value"]) == (1.0, 2 / 2**12)
    assert (best["policy_tokens"], best["value_calls"], best["expansions"]) == (100.0, 10.0, 7.0)
    assert best["seconds"] == 38.5 and best["algorithm"] == "astar"
    [_, worse] = compare(table(best=PERFECT, astar=POOR), SECONDS, "best-of-N")
    assert worse["verdict"] == "worse" and worse["difference"] == -1.0


def test_one_lucky_problem_is_no_gain() -> None:
    lucky = [("correct", 100), *POOR[1:]]
    [_, row] = compare(table(best=POOR, astar=lucky), SECONDS, "best-of-N")
    assert row["difference"] > 0 == row["difference_low"]
    assert row["verdict"] == "not significant"


def test_four_wins_and_no_loss_are_no_significant_gain() -> None:
    """The bootstrap interval excludes 0 here; the exact test, p = 1/8, says what it is worth."""
    lucky = [*[("correct", 100)] * 4, *POOR[4:]]
    [_, row] = compare(table(best=POOR, astar=lucky), SECONDS, "best-of-N")
    assert row["difference_low"] > 0 and row["p_value"] == 0.125
    assert row["verdict"] == "not significant"


def test_pairs_are_matched_by_problem_not_by_position() -> None:
    mixed = [("correct", 100) if i % 3 else ("wrong", 400) for i in range(12)]
    frame = table(best=mixed, astar=mixed)
    shuffled = pl.concat(
        [
            part.sample(fraction=1, shuffle=True, seed=i)
            for i, part in enumerate(frame.partition_by("method", maintain_order=True))
        ]
    )
    assert compare(shuffled, SECONDS, "best-of-N") == compare(frame, SECONDS, "best-of-N")
    assert compare(shuffled, SECONDS, "best-of-N")[1]["p_value"] == 1.0


def test_only_common_problems_are_paired() -> None:
    [_, row] = compare(table(best=PERFECT[:5], astar=PERFECT), SECONDS, "best-of-N")
    assert (row["n"], row["pairs"]) == (12, 5)
    frame = table(best=PERFECT, astar=PERFECT)
    apart = frame.with_columns(problem_id=pl.col("method") + pl.col("problem_id"))
    [_, row] = compare(apart, SECONDS, "best-of-N")
    assert row["difference"] is None and row["verdict"] == "not significant"


def test_failures_are_counted_apart_and_as_unsolved() -> None:
    failed = [("search_error", 10), ("timeout", 10), ("grader_error", 10), ("correct", 10)]
    [_, row] = compare(table(best=POOR[:4], astar=failed), SECONDS, "best-of-N")
    assert (row["correct"], row["n"], row["failures"]) == (1, 4, 3)
    assert {name: row["outcomes"][name] for name in FAILURES} == dict.fromkeys(FAILURES, 1)
    assert row["outcomes"]["wrong"] == 0


@given(cells, cells)
@settings(max_examples=40)
def test_every_row_is_complete_and_can_be_written_to_a_manifest(
    best: list[tuple[str, int]], astar: list[tuple[str, int]]
) -> None:
    rows = compare(table(best=best, astar=astar), SECONDS, "best-of-N", resamples=200)
    assert json.loads(canonical_json(rows)) == rows
    assert [row["method"] for row in rows] == ["best-of-N", "A*"]
    for row in rows:
        assert sum(row["outcomes"].values()) == row["n"]
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1


@pytest.mark.parametrize(
    ("frame", "seconds", "message"),
    [
        (table(astar=PERFECT), SECONDS, "baseline 'best-of-N' is not among"),
        (table(best=PERFECT, astar=PERFECT), {"A*": 1.0}, "no seconds for"),
        (table(best=[("perhaps", 1)]), SECONDS, "unknown outcomes"),
        (table(best=PERFECT).vstack(table(best=PERFECT)), SECONDS, "more than one row"),
    ],
)
def test_broken_tables_are_refused(
    frame: pl.DataFrame, seconds: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compare(frame, seconds, "best-of-N")


def test_no_searches_make_no_rows() -> None:
    empty = table(best=PERFECT).clear()
    assert compare(empty, {}, "best-of-N") == []
    assert accuracy_by_tokens(empty) == []


def test_the_curve_by_hand() -> None:
    frame = table(best=[("correct", 400), ("correct", 50), ("wrong", 10), ("correct", 50)])
    [curve] = accuracy_by_tokens(frame)
    assert curve == {"method": "best-of-N", "points": [[0, 0.0], [50, 0.5], [400, 0.75]]}
    [curve] = accuracy_by_tokens(table(astar=[("correct", 0), ("timeout", 30)]))
    assert curve["points"] == [[0, 0.5], [30, 0.5]]


def test_an_answer_may_turn_wrong_again() -> None:
    moments = [
        [{"tokens": 30, "correct": False}, {"tokens": 60, "correct": True}],
        [{"tokens": 60, "correct": True}, {"tokens": 90, "correct": False}],
        [{"tokens": 90, "correct": True}],
        [],
    ]
    frame = table(astar=[("wrong", 400)] * 4)
    frame = frame.with_columns(anytime=pl.Series(moments, dtype=ANYTIME))
    [curve] = accuracy_by_tokens(frame)
    assert curve["points"] == [[0, 0.0], [60, 0.5], [400, 0.5]]
    [curve] = accuracy_by_tokens(frame.head(2))
    assert curve["points"] == [[0, 0.0], [60, 1.0], [90, 0.5], [400, 0.5]]


moments = st.dictionaries(st.integers(0, 400), st.booleans(), max_size=5)


@given(st.lists(moments, min_size=1, max_size=20))
def test_the_curve_is_the_share_of_right_answers_at_every_budget(
    searches: list[dict[int, bool]],
) -> None:
    rows = [[{"tokens": t, "correct": row[t]} for t in sorted(row)] for row in searches]
    frame = table(astar=[("wrong", 400)] * len(rows))
    [curve] = accuracy_by_tokens(frame.with_columns(anytime=pl.Series(rows, dtype=ANYTIME)))
    for limit in range(0, 401, 7):
        share = [s for tokens, s in curve["points"] if tokens <= limit][-1]
        right = [[row[t] for t in sorted(row) if t <= limit][-1:] == [True] for row in searches]
        assert share == pytest.approx(sum(right) / len(rows))
    assert [tokens for tokens, _ in curve["points"]] == sorted({t for t, _ in curve["points"]})
    assert curve["points"][-1][0] == 400


def test_real_curves_end_at_the_accuracy() -> None:
    curves = {row["method"]: row["points"] for row in report_data().curve}
    for row in report_data().comparison:
        assert curves[row["method"]][-1][1] == pytest.approx(row["accuracy"])
