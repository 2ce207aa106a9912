from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from qstar_core.audit.own import own
from qstar_core.audit.source import as_problems, open_labels
from qstar_core.domains import countdown
from tests.audit.examples import BAD, END, GOOD, LOSE, PROBLEM, WIN, write_run

OTHER = countdown.make_problem([2, 3, 4], 9)  # 2 + 3 + 4
PLAYS = {
    PROBLEM: [[GOOD, WIN], [BAD, END], [GOOD, LOSE]],
    OTHER: [["4 - 2 = 2 | 2 3 > 9\n", "2 * 3 = 6 | 6 > 9"]],
}


def figures(
    folder: Path, limit: int = 9, gamma: float = 1.0, change: pl.Expr | None = None
) -> dict:
    labels = write_run(folder, PLAYS, gamma=gamma, change=change)
    source = open_labels(labels)
    return own(source.files(), as_problems(source.problems()), limit, gamma)


def test_worked_example(tmp_path: Path) -> None:
    """Step 1: GOOD twice (y = Q* = 1), BAD and OTHER's (0, 0). Step 2: WIN alone is good."""
    found = figures(tmp_path)
    assert found["problems"] == 2
    first, second = found["steps"]
    assert first == {"step": 1, "n": 4, "good": 2, "missed": 0, "wrong": 0, "bias": 0.0, "mse": 0.0}
    assert (second["good"], second["missed"], second["mse"]) == (1, 0, 0.0)


def test_missed_and_wrong_labels_are_counted(tmp_path: Path) -> None:
    first, second = figures(tmp_path / "low", change=pl.lit(0.0))["steps"]
    assert (first["missed"], first["wrong"], first["bias"]) == (2, 0, -0.5)
    assert (second["missed"], second["mse"]) == (1, 0.25)
    first, _ = figures(tmp_path / "high", change=pl.lit(1.0))["steps"]
    assert (first["missed"], first["wrong"], first["bias"]) == (0, 2, 0.5)


def test_the_exact_value_is_discounted_as_the_labels_are(tmp_path: Path) -> None:
    first, second = figures(tmp_path, gamma=0.5)["steps"]
    assert first["mse"] == second["mse"] == 0.0
    assert first["good"] == 2


def test_problems_are_limited_by_their_ids(tmp_path: Path) -> None:
    found = figures(tmp_path, limit=1)
    assert found["problems"] == 1
    expected = 3 if PROBLEM.id < OTHER.id else 1
    assert found["steps"][0]["n"] == expected


def test_no_problem_has_labels(tmp_path: Path) -> None:
    source = open_labels(write_run(tmp_path, PLAYS))
    assert own(source.files(), {}, 9, 1.0) == {"problems": 0, "steps": []}


@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_labels_of_the_best_rollout_never_say_too_much(tmp_path: Path, gamma: float) -> None:
    assert all(
        row["wrong"] == 0 and row["bias"] <= 1e-12
        for row in figures(tmp_path, gamma=gamma)["steps"]
    )
