from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from qstar_core.audit.format_errors import format_errors
from qstar_core.domains import countdown
from qstar_core.grading import Grade, Outcome
from qstar_core.rollouts.sample import SCHEMA
from tests.audit.examples import BAD, END, GOOD, LOSE, MISSPELT, PROBLEM, WIN, rollouts

BY_ID = {PROBLEM.id: PROBLEM}


def written(folder: Path, plays: list[list[str]]) -> list[str]:
    file = folder / "part.parquet"
    frame = pl.from_arrow(pa.Table.from_pylist(rollouts(plays), schema=SCHEMA))
    assert isinstance(frame, pl.DataFrame)
    frame.write_parquet(file)
    return [str(file)]


def test_only_negatives_of_the_form_count(tmp_path: Path) -> None:
    plays = [[GOOD, WIN], [GOOD, LOSE], [GOOD, MISSPELT], [GOOD, MISSPELT], [BAD, END]]
    found = format_errors(written(tmp_path, plays), "countdown", BY_ID, countdown.lenient)
    assert (found["negatives"], found["lenient"], found["steps"]) == (4, 2, 4)
    assert found["examples"] == [{"prompt": "3 2 1 > 6\n", "text": GOOD + MISSPELT}]


def test_the_lenient_grader_is_asked_once_per_distinct_trajectory(tmp_path: Path) -> None:
    asked = []

    def lenient(problem: object, steps: object) -> bool:
        asked.append(steps)
        return False

    format_errors(written(tmp_path, [[GOOD, LOSE]] * 3), "countdown", BY_ID, lenient)
    assert len(asked) == 1


def test_rollouts_of_other_problems_are_passed_over(tmp_path: Path) -> None:
    found = format_errors(written(tmp_path, [[GOOD, LOSE]]), "countdown", {}, countdown.lenient)
    assert found["negatives"] == 0


def test_todays_grader_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = written(tmp_path, [[GOOD, LOSE], [GOOD, MISSPELT], [GOOD, WIN]])

    def strict(problem: object, steps: Sequence[str]) -> Grade:
        return Grade(Outcome.WRONG if steps[-1] == WIN else Outcome.CORRECT, "")

    monkeypatch.setattr(countdown, "GRADER_VERSION", "tomorrow")
    monkeypatch.setattr(countdown, "grade", strict)
    found = format_errors(files, "countdown", BY_ID, countdown.lenient)
    assert (found["negatives"], found["lenient"]) == (1, 1)
    assert found["examples"][0]["text"] == GOOD + WIN
