"""``qstar import`` and the same by a configuration, as a user runs them."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows import commands
from flows.cli import app
from flows.remarks import remarks
from qstar_core.config import RunConfig
from qstar_core.store import dataset, open_store
from tests.rollouts.import_rows import row, write

from .conftest import ROOT, Qstar

LINES = [row(1), "broken", row(2, ["#### 2", "2"]), row(3, [])]


def one_folder(out: Path, stage: str) -> Path:
    [folder] = (out / stage).iterdir()
    return folder


def test_a_file_is_imported_and_its_manifest_labelled(
    qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    file, out = write(tmp_path / "f.jsonl", [*LINES]), tmp_path / "out"
    env = {"PREFECT_API_URL": prefect_server}
    first = qstar("import", file, "--out", out, **env)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2 of 4 rows are malformed and left out, for example line 2: not JSON" in first.stdout
    assert "correct 2, no_answer 1, wrong 1" in first.stdout
    manifest = one_folder(out, "rollouts") / "manifest.json"
    assert f"qstar label {manifest}" in first.stdout
    again = qstar("import", file, "--out", out, **env)
    assert "rollouts is already there." in again.stdout
    labelled = qstar("label", manifest, **env)
    assert labelled.returncode == 0, labelled.stdout + labelled.stderr
    labels = pl.read_parquet(dataset.data_files(str(one_folder(out, "labels"))))
    assert len(labels) == 5
    config = ROOT / "deployments" / "import-example.yaml"
    same = qstar("label", config, "--out", out, "--set", f"rollouts.import_file={file}", **env)
    assert "labels is already there." in same.stdout, same.stdout + same.stderr
    checked = qstar("verify", one_folder(out, "labels"), "--deep")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    made_again = qstar("reproduce", one_folder(out, "labels"), **env)
    assert made_again.returncode == 0, made_again.stdout + made_again.stderr
    assert "equal, 5 rows" in made_again.stdout
    own = tmp_path / "own.yaml"
    own.write_text(
        config.read_text(encoding="utf-8").replace(
            "import_file: samples.jsonl", f"import_file: {file}"
        )
    )
    kept = qstar("gc", out, "--keep", own, "--delete")
    assert kept.returncode == 0, kept.stdout + kept.stderr
    assert "0 of 3 not needed" in kept.stdout
    shown = qstar("show", one_folder(out, "problems"))
    assert "quarantine.jsonl" in shown.stdout
    assert re.search(r"4\s+samples is empty", shown.stdout)


def test_an_import_to_s3_names_the_manifest_there(
    bucket: str, qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    open_store(bucket).replace("in/f.jsonl", "\n".join(LINES).encode())
    env = {"PREFECT_API_URL": prefect_server, "QSTAR_CACHE": str(tmp_path / "cache")}
    made = qstar("import", f"{bucket}/in/f.jsonl", "--out", f"{bucket}/out", **env)
    assert made.returncode == 0, made.stdout + made.stderr
    [uri] = re.findall(r"qstar label (s3://\S+/manifest\.json)", made.stdout)
    labelled = qstar("label", uri, **env)
    assert labelled.returncode == 0, labelled.stdout + labelled.stderr


@pytest.mark.parametrize(
    ("lines", "says"),
    [(["broken", "[]"], "all 2 rows are malformed; line 1: not JSON"), ([], "no row in it")],
)
def test_a_file_without_a_good_row_fails(
    lines: list[str], says: str, qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "f.jsonl", [*lines])
    result = qstar("import", file, "--out", tmp_path / "out", PREFECT_API_URL=prefect_server)
    assert result.returncode == 2, result.stdout + result.stderr
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_wrong_options_are_refused_before_anything_starts(tmp_path: Path) -> None:
    file = str(write(tmp_path / "f.jsonl", [row(1)]))
    absent = str(tmp_path / "absent.jsonl")
    for arguments, word in (
        (["import", absent], f"rollouts.import_file: no such file: {absent}"),
        (["import", file, "--domain", "chess"], "domain.name"),
        (["import", file, "--set", "rollouts.sample=3"], "unknown field rollouts.sample"),
        (["import", file, "--set", "domain.train_problems=3"], "brings its own training problems"),
        (["import", file, "--config", absent], "no such configuration"),
    ):
        place = ["--out", str(tmp_path / "out")]
        result = CliRunner().invoke(app, [*arguments, *place], env={"COLUMNS": "200"})
        assert result.exit_code == 2, result.output
        assert word in result.stderr, result.stderr
        assert "\nNext: " in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_options_are_fields(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[RunConfig] = []

    def make(stage: str, flow: str, config: RunConfig, verbose: bool) -> dict[str, str]:
        made.append(config)
        return {"uri": "results/rollouts/key"}

    monkeypatch.setattr(commands, "make", make)
    path = tmp_path / "run.yaml"
    path.write_text("{name: mine, domain: {name: countdown}}", encoding="utf-8")
    strange = "a: #b's \u00fc.jsonl"
    commands.import_rollouts(strange, None, None, "there", ["name=x"], False)
    commands.import_rollouts("f", "countdown", None, None, None, False)
    commands.import_rollouts("f", None, str(path), None, None, False)
    commands.import_rollouts("f", "gsm8k", str(path), None, None, False)
    assert [c.domain.name for c in made] == ["gsm8k", "countdown", "countdown", "gsm8k"]
    assert [c.name for c in made] == ["x", "run", "mine", "mine"]
    assert (made[0].rollouts.import_file, made[0].out) == (strange, "there")


def test_remarks_on_an_import() -> None:
    figures = {
        "import": {"lines": 1000, "malformed": 20},
        "malformed": [{"line": 7, "reason": "not JSON"}],
    }
    assert remarks({"uri": "out/problems/k", "figures": figures}) == [
        "20 of 1,000 rows are malformed and left out, for example line 7: not JSON "
        "(all of them: out/problems/k/quarantine.jsonl)"
    ]
    outcomes = {"outcomes": {"correct": 1200, "wrong": 3}}
    assert remarks({"uri": "u", "figures": outcomes}) == ["correct 1,200, wrong 3"]
