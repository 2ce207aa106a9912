from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from qstar_core.audit.format_errors import format_errors
from qstar_core.domains import countdown
from qstar_core.rollouts.sample import SCHEMA
from tests.audit.examples import BAD, END, GOOD, LOSE, MISSPELT, PROBLEM, WIN, path


def written(folder: Path, plays: list[list[str]]) -> list[str]:
    rows = [path(PROBLEM, play, k) for k, play in enumerate(plays)]
    file = folder / "part.parquet"
    frame = pl.from_arrow(pa.Table.from_pylist(rows, schema=SCHEMA))
    assert isinstance(frame, pl.DataFrame)
    frame.write_parquet(file)
    return [str(file)]


def test_only_negatives_of_the_form_count(tmp_path: Path) -> None:
    plays = [[GOOD, WIN], [GOOD, LOSE], [GOOD, MISSPELT], [GOOD, MISSPELT], [BAD, END]]
    found = format_errors(written(tmp_path, plays), {PROBLEM.id: PROBLEM}, countdown.lenient)
    assert (found["negatives"], found["lenient"], found["steps"]) == (4, 2, 4)
    assert found["examples"] == [{"prompt": "3 2 1 > 6\n", "text": GOOD + MISSPELT}]


def test_the_lenient_grader_is_asked_once_per_distinct_trajectory(tmp_path: Path) -> None:
    asked = []

    def lenient(problem: object, steps: object) -> bool:
        asked.append(steps)
        return False

    format_errors(written(tmp_path, [[GOOD, LOSE]] * 3), {PROBLEM.id: PROBLEM}, lenient)
    assert len(asked) == 1


def test_rollouts_of_other_problems_are_passed_over(tmp_path: Path) -> None:
    found = format_errors(written(tmp_path, [[GOOD, LOSE]]), {}, countdown.lenient)
    assert found["negatives"] == 0
