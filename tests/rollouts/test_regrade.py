from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.domains import countdown
from qstar_core.grading import Grade, Outcome
from qstar_core.mdp import Problem
from qstar_core.rollouts.regrade import COLUMNS, regrade

SOLVED = countdown.make_problem([1, 2, 3], 6)
OTHER = countdown.make_problem([1, 2, 4], 7)
RIGHT = ["3 + 2 = 5 | 5 1 > 6\n", "5 + 1 = 6 | 6 > 6\n"]
WRONG = ["3 - 2 = 1 | 1 1 > 6\n", "1 + 1 = 2 | 2 > 6\n"]


def trajectories(
    steps: Sequence[Sequence[str]], version: str | list[str] = "0", **more: object
) -> pl.DataFrame:
    """Stored rows whose grader was mistaken in all of them."""
    versions = [version] * len(steps) if isinstance(version, str) else version
    return pl.DataFrame(
        {
            "rollout_id": [str(k) for k in range(len(steps))],
            "problem_id": [SOLVED.id] * len(steps),
            "steps": [[{"text": text, "tokens": 1} for text in each] for each in steps],
            "outcome": ["timeout"] * len(steps),
            "answer": [""] * len(steps),
            "grader": [countdown.GRADER] * len(steps),
            "grader_version": versions,
            **more,
        },
        schema_overrides={
            "steps": pl.List(pl.Struct({"text": pl.String, "tokens": pl.Int32})),
        },
    )


def by_id(*problems: Problem) -> dict[str, Problem]:
    return {problem.id: problem for problem in problems}


def test_what_another_version_graded_is_graded_again() -> None:
    stored = trajectories([RIGHT, WRONG, []])
    found = regrade(stored.lazy(), "countdown", lambda: by_id(SOLVED, OTHER)).collect()
    assert found["outcome"].to_list() == ["correct", "wrong", "no_answer"]
    assert found["answer"].to_list() == ["6", "2", ""]
    assert found["grader_version"].unique().to_list() == [countdown.GRADER_VERSION]
    assert found.schema == stored.schema
    assert found.drop(COLUMNS).equals(stored.drop(COLUMNS))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_only_rows_of_another_version_change(kinds: list[tuple[bool, bool]]) -> None:
    steps = [RIGHT if right else WRONG for right, _ in kinds]
    versions = [countdown.GRADER_VERSION if kept else "0" for _, kept in kinds]
    found = regrade(
        trajectories(steps, versions).lazy(), "countdown", lambda: by_id(SOLVED)
    ).collect()
    wanted = [
        "timeout" if kept else str(countdown.grade(SOLVED, each).outcome)
        for each, (_, kept) in zip(steps, kinds, strict=True)
    ]
    assert found["outcome"].to_list() == wanted


def test_rows_of_todays_grader_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(problem: Problem, steps: Sequence[str]) -> Grade:
        raise AssertionError

    monkeypatch.setattr(countdown, "grade", refuse)
    stored = trajectories([RIGHT], countdown.GRADER_VERSION).lazy()
    assert regrade(stored, "countdown", lambda: by_id(SOLVED)) is stored
    elsewhere = trajectories([RIGHT]).lazy()
    assert regrade(elsewhere, "countdown", lambda: by_id(OTHER)).collect()["outcome"].to_list() == [
        "timeout"
    ]


def test_a_new_grader_of_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(problem: Problem, steps: Sequence[str]) -> Grade:
        return Grade(Outcome.CORRECT, "yes")

    monkeypatch.setattr(countdown, "grade", lenient)
    monkeypatch.setattr(countdown, "GRADER", "countdown-lenient")
    kind = pl.Series("grader", [countdown.GRADER] * 2).cast(pl.Categorical)
    stored = trajectories([RIGHT, WRONG], countdown.GRADER_VERSION, source=["rollouts"] * 2)
    stored = stored.with_columns(grader=pl.lit("countdown-exact").cast(kind.dtype))
    found = regrade(stored.lazy(), "countdown", lambda: by_id(SOLVED)).collect()
    assert found["outcome"].to_list() == ["correct"] * 2
    assert found["grader"].cast(pl.String).to_list() == ["countdown-lenient"] * 2
    assert found.schema == stored.schema


def test_what_the_grader_cannot_cope_with_is_its_error() -> None:
    stored = trajectories([RIGHT, ["9" * 5000 + " + 2 = 5 | 5 > 6"]]).lazy()
    found = regrade(stored, "countdown", lambda: by_id(SOLVED)).collect()
    assert found["outcome"].to_list() == ["correct", "grader_error"]
    assert found["grader_version"].to_list() == [countdown.GRADER_VERSION] * 2


def test_each_trajectory_is_graded_once_however_often_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def grade(problem: Problem, steps: Sequence[str]) -> Grade:
        asked.append(steps)
        return Grade(Outcome.CORRECT)

    monkeypatch.setattr(countdown, "grade", grade)
    found = regrade(trajectories([RIGHT, WRONG]).lazy(), "countdown", lambda: by_id(SOLVED))
    for _ in range(3):
        found.collect()
    assert asked == [RIGHT, WRONG]


def test_nothing_to_grade() -> None:
    empty = trajectories([]).lazy()
    assert regrade(empty, "countdown", lambda: by_id(SOLVED)).collect().is_empty()
