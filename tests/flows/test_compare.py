"""``qstar compare`` through the real command line, on a tiny run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from .conftest import Finished, Qstar

SWEEP = ("--set", "comparison.tokens=[20, 40]", "--set", "comparison.seconds=[0.05]")


@pytest.fixture(scope="module")
def compared(
    finished: Finished, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The folder of a comparison on top of a finished run, and what the command printed."""
    from .conftest import call

    out = tmp_path_factory.mktemp("compared") / "out"
    shutil.copytree(finished.out, out)
    for stage in ("evaluation", "report"):
        shutil.rmtree(out / stage)
    result = call("compare", finished.config, "--out", out, *SWEEP, PREFECT_API_URL=prefect_server)
    assert result.returncode == 0, result.stdout + result.stderr
    return out, result.stdout


def manifest(out: Path, stage: str) -> dict[str, Any]:
    (found,) = (out / stage).glob("*/manifest.json")
    loaded: dict[str, Any] = json.loads(found.read_text())
    return loaded


def test_the_comparison_and_its_report_are_made_and_nothing_else(
    compared: tuple[Path, str],
) -> None:
    out, shown = compared
    stages = ("problems", "rollouts", "labels", "qvm", "comparison", "timing", "comparison_report")
    assert sorted(path.name for path in out.iterdir()) == sorted([*stages, "logs"])
    for word in ("already there", "at 20", "at 40", "best-of-N", "A*", "Timing", "Next: open"):
        assert word in shown
    page = Path(manifest(out, "comparison_report")["uri"]) / "report.html"
    assert "40 policy tokens" in page.read_text()


def test_every_method_searched_every_problem_within_every_budget(
    compared: tuple[Path, str],
) -> None:
    out, _ = compared
    frame = pl.read_parquet(out / "comparison" / "*" / "*.parquet")
    groups = frame.group_by("method", "budget").agg(pl.col("problem_id").n_unique())
    assert len(groups) == 3 * 2 and set(groups["problem_id"]) == {4}
    assert (frame["policy_tokens"] <= frame["budget"]).all()
    assert frame.schema["first_correct"] == pl.Int32
    timed = pl.read_parquet(out / "timing" / "*" / "*.parquet")
    assert set(timed["budget"]) == {0.05} and len(timed) == 3 * 4
    made = manifest(out, "comparison")
    assert len(made["shards"]) == 3 * 2 * 2
    assert {row["budget"] for row in made["figures"]["sweep"]} == {20.0, 40.0}
    assert {row["target_budget"] for row in made["figures"]["reach"]} == {20.0, 40.0}


def test_a_search_with_a_small_budget_is_that_of_qstar_evaluate(
    compared: tuple[Path, str], finished: Finished
) -> None:
    """The run's evaluation has the budget 40 too."""
    columns = ("method", "problem_id", "outcome", "policy_tokens", "steps", "score")
    usual = pl.read_parquet(finished.out / "evaluation" / "*" / "*.parquet").select(columns)
    frame = pl.read_parquet(compared[0] / "comparison" / "*" / "*.parquet")
    own = frame.filter(pl.col("budget") == 40).select(columns)
    assert own.sort("method", "problem_id").equals(usual.sort("method", "problem_id"))


def test_the_other_commands_know_a_comparison(
    compared: tuple[Path, str], finished: Finished, qstar: Qstar, tmp_path: Path
) -> None:
    out, _ = compared
    uri = manifest(out, "comparison")["uri"]
    shown = qstar("show", uri)
    assert shown.returncode == 0, shown.stderr
    assert "at 40" in shown.stdout and "first_correct" in shown.stdout
    explained = qstar("explain", uri, "1", "--budget", "20", "--method", "A*")
    assert "(A*, budget 20, problem" in explained.stdout, explained.stderr
    for stage in ("comparison", "timing"):
        replayed = qstar("explain", manifest(out, stage)["uri"], "2", "--replay")
        assert "Replayed without a model: same answer" in replayed.stdout, replayed.stderr
    again = ("--out", out, *SWEEP)
    for command in (["compare"], ["report", "--comparison"], ["compare", "--plan"]):
        words = (command[0], finished.config, *command[1:], *again)
        result = qstar(*words, PREFECT_HOME=str(tmp_path))
        assert result.returncode == 0, result.stderr
        assert "already there" in result.stdout
    assert not (tmp_path / "prefect.db").exists()


def test_a_price_writes_only_the_report_anew(
    compared: tuple[Path, str], finished: Finished, qstar: Qstar, prefect_server: str
) -> None:
    out, _ = compared
    price = ("--set", "comparison.price_per_million_tokens=0.5")
    planned = qstar("compare", finished.config, "--plan", "--out", out, *SWEEP, *price)
    assert planned.stdout.count("will run") == 1
    result = qstar(
        *("report", finished.config, "--comparison", "--out", out, *SWEEP, *price),
        PREFECT_API_URL=prefect_server,
    )
    assert result.returncode == 0, result.stderr
    pages = [path.read_text() for path in (out / "comparison_report").glob("*/report.html")]
    assert sorted("Cost per 1,000" in page for page in pages) == [False, True]


def test_another_correction_and_baseline_repeat_no_search(
    compared: tuple[Path, str], finished: Finished, qstar: Qstar, prefect_server: str
) -> None:
    out, _ = compared
    other = ("--set", "comparison.correction=none", "--set", "comparison.baseline=greedy")
    before = set((out / "comparison_report").iterdir())
    result = qstar(
        *("compare", finished.config, "--out", out, *SWEEP, *other),
        PREFECT_API_URL=prefect_server,
    )
    assert result.returncode == 0, result.stderr
    assert len(list((out / "comparison").iterdir())) == 1
    (made,) = set((out / "comparison_report").iterdir()) - before
    figures = json.loads((made / "manifest.json").read_text())["figures"]["sweeps"]
    assert figures.keys() == {"comparison", "timing"}
    rows = figures["comparison"]["sweep"]
    assert {row["method"] for row in rows if row["verdict"] == "baseline"} == {"greedy"}
    assert all(row["p_adjusted"] == row["p_value"] for row in rows)
    shown = qstar("show", made)
    assert "at 40" in shown.stdout, shown.stderr


def test_the_plan_of_a_comparison_writes_nothing(config: Path, qstar: Qstar) -> None:
    result = qstar("compare", config, "--plan")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("will run") == 6
    assert not (config.parent / "out").exists()


def test_a_baseline_that_is_no_method(config: Path, qstar: Qstar) -> None:
    result = qstar("compare", config, "--set", "comparison.baseline=beam")
    assert result.returncode == 2
    assert "comparison.baseline 'beam' is not the name of a method" in result.stderr
    assert "Traceback" not in result.stderr and len(result.stderr) < 1000
