from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.audit.steps import BINS, by_step, conflicts


def files(folder: Path, *parts: list[tuple[str, int, float]]) -> list[str]:
    """Label files of (action, step, y)."""
    paths = []
    for k, rows in enumerate(parts):
        frame = pl.DataFrame(
            {
                "problem_id": [f"p{k}" for _ in rows],
                "action_id": [f"{k}-{action}" for action, _, _ in rows],
                "action": [action for action, _, _ in rows],
                "step_index": pl.Series([step for _, step, _ in rows], dtype=pl.Int32),
                "y": pl.Series([y for _, _, y in rows], dtype=pl.Float64),
            }
        )
        paths.append(str(folder / f"part-{k}.parquet"))
        frame.write_parquet(paths[-1])
    return paths


def test_balance_and_histogram_by_step_over_files(tmp_path: Path) -> None:
    first = [("a", 1, 0.0), ("b", 1, 0.25), ("c", 2, 1.0)]
    found = by_step(files(tmp_path, first, [("a", 1, 0.95), ("c", 2, 1.0)]))
    assert [row["step"] for row in found] == [1, 2]
    assert found[0] == {
        "step": 1,
        "n": 3,
        "positive": 2,
        "histogram": [1, 0, 1, 0, 0, 0, 0, 0, 0, 1],
    }
    assert (found[1]["n"], found[1]["positive"], found[1]["histogram"][-1]) == (2, 2, 2)


def test_labels_of_one_action_that_differ_are_contradictions(tmp_path: Path) -> None:
    first = [("a", 1, 0.0), ("a", 1, 1.0), ("b", 1, 0.5), ("b", 1, 0.5), ("c", 2, 0.1)]
    second = [("a", 1, 0.5), ("d", 3, 0.2), ("d", 3, 0.4), ("d", 3, 0.2)]
    found = conflicts(files(tmp_path, first, second))
    assert (found["actions"], found["conflicting"], found["rows"]) == (5, 2, 5)
    assert [(e["action"], e["low"], e["high"]) for e in found["examples"]] == [
        ("a", 0.0, 1.0),
        ("d", 0.2, 0.4),
    ]
    assert found["examples"][1]["step"] == 3


def test_a_difference_of_rounding_is_none(tmp_path: Path) -> None:
    assert conflicts(files(tmp_path, [("a", 1, 0.3), ("a", 1, 0.1 + 0.2)]))["conflicting"] == 0


ROWS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(1, 3),
        st.floats(0, 1) | st.sampled_from([k / BINS for k in range(BINS + 1)]),
    ),
    min_size=1,
    max_size=8,
)


@given(st.lists(ROWS, min_size=1, max_size=3))
def test_counts_agree_with_plain_loops(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[tuple[str, int, float]]]
) -> None:
    found = by_step(files(tmp_path_factory.mktemp("labels"), *parts))
    rows = [row for part in parts for row in part]
    for row in found:
        ys = [y for _, step, y in rows if step == row["step"]]
        assert row["n"] == len(ys) == sum(row["histogram"])
        assert row["positive"] == sum(y > 0 for y in ys)
        places = [min(int(y * BINS), BINS - 1) for y in ys]
        assert row["histogram"] == [places.count(k) for k in range(BINS)]
    assert {row["step"] for row in found} == {step for _, step, _ in rows}
