"""The commands on data sets that are there, on a finished tiny run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli import app
from tests.provenance.runs import edit, flip, publish, swap

from .conftest import Finished, Qstar

Manifest = dict[str, Any]


@pytest.fixture
def out(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the output folder of a finished run."""
    shutil.copytree(finished.out, tmp_path / "out")
    return tmp_path / "out"


def stage(out: Path, name: str) -> Path:
    (found,) = (out / name).iterdir()
    return found


def shards(out: Path, name: str) -> list[Path]:
    return sorted(stage(out, name).glob("*.parquet"))


def say(*arguments: str | Path) -> Result:
    """A command in this process."""
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(each) for each in arguments])


def test_verify_ends_with_0_for_what_was_published(out: Path) -> None:
    found = say("verify", stage(out, "report"), "--deep")
    assert found.exit_code == 0, found.output
    assert found.output.count("intact") == len(list(out.glob("*/*/manifest.json"))) == 6
    assert "damage" not in found.output


def test_verify_ends_with_1_for_damage_and_2_for_no_data_set(out: Path) -> None:
    part = shards(out, "rollouts")[0]
    flip(part, 40)
    found = say("verify", stage(out, "rollouts"))
    assert found.exit_code == 1
    assert f"damage  {part.name}: its content was changed" in found.output
    assert "Next: mend what is named above" in found.output
    assert f"rm -r {part.parent}" in found.output
    assert say("verify", out).exit_code == 2
    (part.parent / "manifest.json").write_text("{")
    assert say("verify", part.parent).exit_code == 1


def test_diff_says_equal_or_what_differs(out: Path, tmp_path: Path) -> None:
    here = stage(out, "rollouts")
    same = say("diff", here, here)
    assert same.exit_code == 0
    assert "equal, 48 rows" in same.output
    tables = [pq.read_table(part) for part in shards(out, "rollouts")]
    column = tables[1].column_names.index("tokens")
    tables[1] = tables[1].set_column(column, "tokens", [[0] * len(tables[1])])
    other = publish(str(tmp_path / "other"), [tables[0], tables[1]])
    found = say("diff", here, other, "--by", "rollout_id")
    assert found.exit_code == 1
    for words in ("only in A", "tokens", "first differences", "what changed together"):
        assert words in found.output
    assert say("diff", here, stage(out, "labels")).exit_code == 2


def test_what_a_data_set_says_is_shown_and_not_obeyed(out: Path) -> None:
    edit(stage(out, "rollouts"), lambda m: m.update(kind="[red]\x1b[2J"))
    for command in ("verify", "lineage"):
        found = say(command, stage(out, "rollouts"))
        assert "\x1b[2J" not in found.output
        assert "[red]\\x1b[2J" in found.output


def test_lineage_is_a_tree_or_json(out: Path) -> None:
    found = say("lineage", stage(out, "evaluation"))
    assert found.exit_code == 0
    for name in ("evaluation", "qvm", "labels", "rollouts", "problems"):
        assert f"{name} {stage(out, name).name}" in found.output
    assert "samples=4" in found.output
    assert "(see above)" in found.output
    tree = json.loads(say("lineage", stage(out, "labels"), "--json").output)
    assert tree["inputs"][1]["decided"]["samples"] == 4
    shutil.rmtree(stage(out, "rollouts"))
    gone = say("lineage", stage(out, "labels"))
    assert gone.exit_code == 1
    assert "missing" in gone.output


def test_gc_removes_nothing_unless_told_to(out: Path, finished: Finished) -> None:
    kept = say("gc", out)
    assert kept.exit_code == 0
    assert "No run is named" in kept.output
    needless = publish(str(out), [], "labels")
    for arguments in ((), ("--delete",)):
        found = say("gc", out, "--keep", finished.config, *arguments)
        assert found.exit_code == 0, found.output
        assert "1 of 7 not needed" in found.output
        assert Path(needless).exists() == (not arguments)
    assert f"removed {needless}" in found.output
    assert say("verify", stage(out, "report"), "--deep").exit_code == 0


def test_gc_keeps_a_named_data_set(out: Path) -> None:
    found = say("gc", out, "--keep", stage(out, "labels"), "--delete")
    assert found.exit_code == 0, found.output
    left = sorted(p.name for p in out.iterdir() if any(p.iterdir()))
    assert left == ["labels", "logs", "problems", "rollouts"]
    assert say("gc", out, "--keep", out / "nothing").exit_code == 2


def test_reproduce_says_equal(out: Path, qstar: Qstar, prefect_server: str, tmp_path: Path) -> None:
    env = {"PREFECT_API_URL": prefect_server, "TMPDIR": str(tmp_path)}
    rows = json.loads((stage(out, "labels") / "manifest.json").read_text())["rows"]
    found = qstar("reproduce", stage(out, "labels"), **env)
    assert found.returncode == 0, found.stdout + found.stderr
    assert f"equal, {rows} rows" in found.stdout
    assert not list(tmp_path.glob("qstar-reproduce-*"))
    keep = tmp_path / "again"
    found = qstar("reproduce", stage(out, "evaluation"), "--from-inputs", "--keep", keep, **env)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "equal, 12 rows" in found.stdout
    assert (keep / "evaluation" / stage(out, "evaluation").name / "manifest.json").is_file()


def test_a_trained_model_is_compared_by_its_files_and_predictions(
    out: Path, qstar: Qstar, prefect_server: str
) -> None:
    env = {"PREFECT_API_URL": prefect_server}
    found = qstar("reproduce", stage(out, "qvm"), "--from-inputs", **env)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "equal byte for byte" in found.stdout


def _seed(out: Path) -> None:
    edit(stage(out, "rollouts"), lambda manifest: manifest["config"].update(seed=5))


def _byte(out: Path) -> None:
    flip(shards(out, "rollouts")[1], 99)


def _swapped(out: Path) -> None:
    swap(*shards(out, "rollouts")[:2])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_seed, "seed is 5 in config and 0 in rows_from"),
        (_byte, "part-p0000004-0000008.parquet: its content was changed"),
        (_swapped, "holds what part-p0000004-0000008.parquet should hold"),
    ],
)
def test_reproduce_names_what_was_changed_and_starts_nothing(
    out: Path, change: Callable[[Path], None], said: str
) -> None:
    change(out)
    found = say("reproduce", stage(out, "rollouts"))
    assert found.exit_code == 1
    assert said in found.output
    assert "Not reproduced" in found.output


def test_reproduce_says_which_field_gives_another_key(out: Path) -> None:
    sets = ("--set", "rollouts.temperature=0.5", "--set", "runtime.workers=1")
    found = say("reproduce", stage(out, "labels"), *sets)
    assert found.exit_code == 1
    assert "rollouts: temperature was 1.0, is 0.5" in found.output


def test_reproduce_into_its_own_folder_is_refused(out: Path) -> None:
    found = say("reproduce", stage(out, "labels"), "--keep", out)
    assert found.exit_code == 2
    assert "compared with itself" in found.output
    remote = say("reproduce", stage(out, "labels"), "--keep", "s3://b/c", "--from-inputs")
    assert remote.exit_code == 2
