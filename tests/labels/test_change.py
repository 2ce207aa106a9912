from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.labels.change import mean_change


def write(folder: Path, name: str, rows: list[tuple[str, int, float]]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(rows, schema=["rollout_id", "step_index", "y"], orient="row")
    frame.write_parquet(folder / name)
    return str(folder / name)


def test_the_change_by_hand(tmp_path: Path) -> None:
    rows = [("a", 1, 0.0), ("a", 2, 1.0), ("b", 1, 0.5)]
    later = [("b", 1, 0.25), ("a", 1, 0.5), ("a", 2, 1.0)]  # another order
    before = [write(tmp_path / "1", "p.parquet", rows), write(tmp_path / "1", "q.parquet", rows)]
    after = [write(tmp_path / "2", "p.parquet", later), write(tmp_path / "2", "q.parquet", rows)]
    assert mean_change(before, after) == pytest.approx((0.25 + 0.5) / 6)
    assert mean_change(after, after) == 0.0
    assert mean_change([], after) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_the_change_is_the_mean_of_absolute_differences(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[float, float]]
) -> None:
    folder = tmp_path_factory.mktemp("change")
    sides = [
        [write(folder / str(side), "p.parquet", [("r", t, p[side]) for t, p in enumerate(pairs)])]
        for side in (0, 1)
    ]
    expected = sum(abs(a - b) for a, b in pairs) / len(pairs)
    assert mean_change(sides[0], sides[1]) == pytest.approx(expected)
