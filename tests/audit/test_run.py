from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qstar_core.audit import run
from qstar_core.audit.run import audit, warnings
from qstar_core.audit.source import open_labels
from qstar_core.config import RunConfig
from qstar_core.domains import countdown
from qstar_core.errors import UserError
from qstar_core.labels.best_of_rollouts import best_of_rollouts
from tests.audit.examples import (
    BAD,
    END,
    GOOD,
    LOSE,
    MISSPELT,
    PROBLEM,
    WIN,
    key_of,
    write,
    write_run,
)

PLAYS = {PROBLEM: [[GOOD, WIN], [GOOD, MISSPELT], [BAD, END], [GOOD, LOSE]]}
CLEAN = [countdown.make_problem([2, 3, 4], 9)]


@pytest.fixture(autouse=True)
def one_method(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"best_of_rollouts": lambda paths: best_of_rollouts(paths, 1.0)}
    monkeypatch.setattr(run, "methods", lambda settings: calls)


def test_an_audit_has_all_figures_and_is_json(tmp_path: Path) -> None:
    labels = write_run(tmp_path, PLAYS, test=CLEAN)
    said: list[str] = []
    found = audit(labels, said=said.append)
    assert json.loads(json.dumps(found)) == found
    assert (found["rows"], found["method"], found["gamma"]) == (8, "best_of_rollouts", 1.0)
    assert [row["n"] for row in found["steps"]] == [4, 4]
    assert found["conflicts"]["conflicting"] == 0
    assert (found["leakage"]["train"], found["leakage"]["test"]) == (1, 1)
    assert found["format_errors"]["lenient"] == 1
    assert found["truth"]["rows"][0]["method"] == "best_of_rollouts"
    assert found["missing"] == []
    assert said[0] == "labels by step" and len(said) == 5
    assert [row["good"] for row in found["own"]["steps"]] == [3, 1]
    [warning] = found["warnings"]
    assert warning["what"].startswith("1 of 3 negatives (33 %) reach the answer")


def test_no_comparison_with_the_truth_if_no_problem_is_asked_for(tmp_path: Path) -> None:
    found = audit(write_run(tmp_path, PLAYS), problems=0)
    assert found["own"] is found["truth"] is None and found["format_errors"] is not None


def test_only_problems_with_labels_count_as_training_problems(tmp_path: Path) -> None:
    labels = write_run(tmp_path, {**PLAYS, CLEAN[0]: []}, test=CLEAN)
    assert audit(labels)["leakage"]["same"] == 0
    both = write_run(tmp_path / "both", PLAYS, test=[PROBLEM])
    found = audit(both)
    assert (found["leakage"]["same"], found["leakage"]["train"]) == (1, 1)
    assert "training refuses these labels" in found["warnings"][0]["what"]


def test_labels_that_contradict_are_a_warning(tmp_path: Path) -> None:
    y = (pl.col("rollout_id").rank("dense") % 2).cast(pl.Float64)
    found = audit(write_run(tmp_path, PLAYS, change=y), problems=0)
    assert found["conflicts"]["conflicting"] == 1
    assert any("contradict" in warning["what"] for warning in found["warnings"])


def test_labels_alone_are_audited_as_far_as_they_go(tmp_path: Path) -> None:
    labels = write_run(tmp_path / "out", PLAYS)
    (tmp_path / "elsewhere" / "labels").mkdir(parents=True)
    moved = Path(labels).rename(tmp_path / "elsewhere" / "labels" / "key")
    found = audit(f"{moved}/manifest.json")
    assert found["missing"] == ["problems", "rollouts"]
    assert found["leakage"] is found["truth"] is found["format_errors"] is None
    assert found["own"] is None
    assert "problems, rollouts" in found["warnings"][-1]["what"]


def test_what_holds_no_labels_is_refused_with_the_way_out(tmp_path: Path) -> None:
    labels = write_run(tmp_path, PLAYS)
    with pytest.raises(UserError, match="holds rollouts, not labels") as caught:
        open_labels(labels.replace("/labels/", "/rollouts/"))
    assert caught.value.next_step == f"qstar audit {tmp_path}/labels/KEY"
    with pytest.raises(UserError, match="no complete data set"):
        open_labels(str(tmp_path / "nowhere"))


def test_the_inputs_of_fitted_q_are_found_and_a_round_has_its_own_method(tmp_path: Path) -> None:
    labels = Path(write_run(tmp_path, PLAYS))
    manifest = json.loads((labels / "manifest.json").read_text())
    manifest["config"]["labels"] |= {"method": "fitted_q", "rounds": 2, "gamma": 0.5}
    manifest["rows_from"] |= {"method": "best_of_rollouts", "gamma": 1.0}
    write(tmp_path, "qvm_1", {}, RunConfig())
    manifest["inputs"]["qvm_1"] = key_of("qvm_1")
    (labels / "manifest.json").write_text(json.dumps(manifest))
    source = open_labels(str(labels))
    assert source.inputs["qvm_1"] == str(tmp_path / "qvm" / "qvm_1") and source.missing == ()
    found = audit(str(labels), problems=0)
    assert (found["method"], found["gamma"]) == ("best_of_rollouts", 1.0)
    assert source.settings["rounds"] == 2


def test_an_audit_reads_from_s3(bucket: str) -> None:
    found = audit(write_run(f"{bucket}/run", PLAYS, test=CLEAN))
    assert found["missing"] == [] and found["truth"]["problems"] == 1
    assert found["uri"] == f"{bucket}/run/labels/key"


def test_good_steps_with_label_0_are_a_warning(tmp_path: Path) -> None:
    found = audit(write_run(tmp_path, PLAYS, change=pl.lit(0.0)))
    said = [warning["what"] for warning in found["warnings"]]
    assert "100 % of the good steps 1 (exact Q* > 0) have label 0" in said
    high = audit(write_run(tmp_path / "high", PLAYS, change=pl.lit(1.0)))
    said = [warning["what"] for warning in high["warnings"]]
    assert "4 of 8 labels are above 0 where the exact Q* is 0" in said


def test_imported_trajectories_are_told_where_more_come_from(tmp_path: Path) -> None:
    labels = Path(write_run(tmp_path, PLAYS, change=pl.lit(0.0)))
    manifest = json.loads((labels / "manifest.json").read_text())
    manifest["config"]["rollouts"]["import_file"] = "samples.jsonl"
    (labels / "manifest.json").write_text(json.dumps(manifest))
    said = audit(str(labels))["warnings"]
    assert said[0]["next"] == "put more samples per question into the file, then qstar import FILE"
    assert not any("--set rollouts" in warning["next"] for warning in said)


def test_every_warning_names_the_next_command() -> None:
    found: dict[str, Any] = {
        "leakage": {"same": 1, "near": 2, "test": 5},
        "conflicts": {"conflicting": 1, "actions": 9},
        "steps": [
            {"step": 1, "n": 4, "positive": 4},
            {"step": 2, "n": 4, "positive": 0},
            {"step": 3, "n": 4, "positive": 1},
        ],
        "duplicates": {"questions": 1, "problems": 2},
        "format_errors": {"lenient": 1, "negatives": 50},
        "missing": ["pool_states"],
        "imported": False,
        "uri": "out/labels/key",
        "own": {
            "steps": [
                {"step": 1, "n": 4, "good": 4, "missed": 1, "wrong": 0},
                {"step": 2, "n": 4, "good": 2, "missed": 0, "wrong": 1},
            ]
        },
    }
    said = warnings(found)
    assert len(said) == 10
    assert all(set(warning) == {"what", "next"} and all(warning.values()) for warning in said)
    assert "all 4 labels of step 1 are positive" in [warning["what"] for warning in said]
    nothing = {
        "own": None,
        "imported": False,
        "leakage": None,
        "duplicates": None,
        "format_errors": None,
        "missing": [],
    }
    quiet = {**nothing, "conflicts": {"conflicting": 0}, "steps": found["steps"][2:]}
    assert warnings(quiet) == []
