"""``qstar report A --against B`` and ``qstar index`` on tiny runs, and seven nights of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.against import Run, compare, find, write
from flows.cli import app
from qstar_core.errors import UserError
from qstar_core.store import open_store

from .conftest import Finished, Qstar
from .test_results import evaluation, uploaded

NIGHTS = 7
CHANGED = 4
"""The night from which on labels are made by another method."""
SHARED = [([6, 7, 8], 21), ([9, 6, 7], 8), ([8, 9, 9], 26), ([6, 6, 9], 21)]
"""Held-out problems of every night; each has one of its own besides."""


def say(*arguments: str | Path) -> Result:
    """A command in this process."""
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(each) for each in arguments])


def stage(out: Path, name: str) -> Path:
    (found,) = (out / name).glob("*/manifest.json")
    return found.parent


def test_a_run_against_itself_changed_nothing(finished: Finished, tmp_path: Path) -> None:
    page = tmp_path / "change.html"
    given = (stage(finished.out, "report"), "--against", finished.config, "--html", page)
    shown = say("report", *given)
    assert shown.exit_code == 0, shown.output
    assert "no significant change" in shown.output
    assert "Nothing in the configuration differs." in shown.output
    assert "made anew: none" in shown.output and page.absolute().as_uri() in shown.output
    assert 'class="switch"' in page.read_text() and not list(tmp_path.glob("*.js"))


@pytest.mark.parametrize("column", ["method", "problem_id"])
def test_runs_with_nothing_in_common_are_an_error_and_leave_no_page(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    page, read, names = tmp_path / "page.html", Run.rows, iter("ab")

    def rows(run: Run) -> pl.DataFrame:
        return read(run).with_columns((pl.lit(next(names)) + pl.col(column)).alias(column))

    monkeypatch.setattr(Run, "rows", rows)
    shown = say("report", finished.out, "--against", finished.out, "--html", page)
    assert shown.exit_code == 2 and not page.exists()
    assert f"no {column.removesuffix('_id')} in common" in shown.output


def test_a_run_of_another_version_has_no_page(finished: Finished, tmp_path: Path) -> None:
    run = find(str(finished.out))
    run.manifest["config"]["gone"] = 1
    with pytest.raises(UserError, match="of another version"):
        write(tmp_path / "page.html", run, compare(run, run))


def test_what_is_no_evaluation_and_no_folder_is_refused(finished: Finished, tmp_path: Path) -> None:
    rollouts = str(stage(finished.out, "rollouts"))
    with pytest.raises(UserError, match="kind rollouts, not to an evaluation"):
        find(rollouts)
    with pytest.raises(UserError, match="no complete evaluation"):
        find(str(tmp_path))
    page = tmp_path / "none" / "page.html"
    shown = say("report", finished.out, "--against", finished.out, "--html", page)
    assert shown.exit_code == 2 and "no such folder" in shown.output


def test_a_copy_in_a_bucket_is_compared_but_has_no_page(
    finished: Finished, bucket: str, tmp_path: Path
) -> None:
    uri = uploaded(evaluation(finished.out), bucket)
    mine, its = find(uri), find(str(finished.out))
    found = compare(mine, its)
    assert [row["better"] for row in found.rows] == [0, 0, 0]
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in stage(finished.out, "evaluation").glob("*.*"):
        (copy / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="is a copy"):
        write(tmp_path / "page.html", find(str(copy)), found)


def test_the_index_of_a_bucket(finished: Finished, bucket: str) -> None:
    out = f"{bucket}/tiny"
    for name in ("evaluation", "report"):
        folder = stage(finished.out, name)
        store = open_store(f"{out}/{name}/{folder.name}")
        for path in folder.glob("*.*"):
            store.replace(path.name, path.read_bytes())
    shown = say("index", out)
    assert shown.exit_code == 0, shown.output
    assert "tiny: 1 run, 0 with another configuration" in shown.output
    page = open_store(out).read("index.html").decode()
    assert f'href="report/{stage(finished.out, "report").name}/report.html"' in page


def test_an_empty_folder_has_no_index(tmp_path: Path) -> None:
    shown = say("index", tmp_path)
    assert shown.exit_code == 2 and "nothing there was evaluated" in shown.output


def training_problems(folder: Path) -> Path:
    """Twelve of them from a file: generated ones leave out the held-out ones of each night."""
    given = [[a, b, c] for a in (1, 2, 3) for b in (3, 4) for c in (2, 5)]
    return write_problems(folder / "train.jsonl", [(numbers, sum(numbers)) for numbers in given])


def problems(folder: Path, night: int) -> Path:
    """The held-out ones of a night."""
    rows = [*SHARED, ([5 + night, 7, 9], 21 + night)]
    return write_problems(folder / f"test-2025-06-{night:02d}.jsonl", rows)


def write_problems(file: Path, rows: list[tuple[list[int], int]]) -> Path:
    lines = [json.dumps({"numbers": numbers, "target": target}) for numbers, target in rows]
    file.write_text("\n".join(lines) + "\n")
    return file


def published(out: Path) -> dict[str, int]:
    """When each data set was published, by stage and key."""
    found = out.glob("*/*/manifest.json")
    return {str(each.parent.relative_to(out)): each.stat().st_mtime_ns for each in found}


def counts(out: Path) -> dict[str, int]:
    stages = ("problems", "rollouts", "labels", "qvm", "evaluation", "report")
    return {name: len(list((out / name).glob("*/manifest.json"))) for name in stages}


@pytest.mark.slow
def test_seven_nights_with_another_label_method_on_the_fourth(
    config: Path, tmp_path: Path, qstar: Qstar, prefect_server: str
) -> None:
    out = config.parent / "out"
    made: dict[str, int] = {}
    keys = []
    for night in range(1, NIGHTS + 1):
        sets = {
            "domain.train_problems": "null",
            "domain.train_file": training_problems(tmp_path),
            "domain.test_problems": "null",
            "domain.test_file": problems(tmp_path, night),
            "labels.method": "mean_of_rollouts" if night >= CHANGED else "best_of_rollouts",
            "qvm.allow": "[near_duplicates]",
        }
        given = [word for name, value in sets.items() for word in ("--set", f"{name}={value}")]
        done = qstar("run", config, *given, PREFECT_API_URL=prefect_server)
        assert done.returncode == 0, done.stdout + done.stderr
        now = published(out)
        assert {name: now[name] for name in made} == made  # nothing was made a second time
        new = {name.partition("/")[0] for name in set(now) - set(made)}
        expected = {"problems", "evaluation", "report"}
        expected |= {1: {"rollouts", "labels", "qvm"}, CHANGED: {"labels", "qvm"}}.get(night, set())
        assert new == expected
        keys.append(next(n for n in set(now) - set(made) if n.startswith("evaluation/")))
        made = now
    assert counts(out) == {
        "problems": 7, "rollouts": 1, "labels": 2, "qvm": 2, "evaluation": 7, "report": 7
    }  # fmt: skip
    shown = say("index", out)
    assert shown.exit_code == 0, shown.output
    assert "tiny: 7 runs, 1 with another configuration" in shown.output
    assert "labels.method: best_of_rollouts -> mean_of_rollouts" in shown.output
    page = (out / "index.html").read_text()
    assert page.count('class="changed"') == 2 and "changed before run 4." in page
    links = re.findall(r'href="(report/[^"]+)"', page)
    assert len(links) == 7 and all((out / link).is_file() for link in links)
    before, after = (out / keys[CHANGED - 2], out / keys[CHANGED - 1])
    html = tmp_path / "change.html"
    shown = say("report", after, "--against", before, "--html", html)
    assert shown.exit_code == 0, shown.output
    assert "labels.method" in shown.output and "mean_of_rollouts" in shown.output
    assert "Shared: rollouts" in shown.output and "test_file" not in shown.output
    found = compare(find(str(after)), find(str(before)))
    assert {row["pairs"] for row in found.rows} == {len(SHARED)}
