"""Fitted Q iteration from the command line: its rounds, their table, and resume after a kill."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from benchmarks import killing
from benchmarks.kill_nine import parquet_files, unfinished
from flows.rounds import round_rows, rounds_table
from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.stage import Stage
from qstar_core.store import dataset, open_store
from tests.flows.conftest import Qstar
from tests.models import tiny_policy

ROUNDS = ("--method", "fitted_q", "--rounds", "3")
FIGURES: dict[str, Any] = {
    "updates": 1200,
    "loss": 0.25,
    "heldout": [
        {"step": "first", "auc_label": 0.5, "auc_truth": 0.75},
        {"step": "final", "auc_label": 0.875, "auc_truth": None},
    ],
}
REGRET = [{"step": "first", "regret": 0.5, "truth": {"regret": 0.125}}]


def publish(stage: Stage, figures: dict[str, Any], y: list[float] | None) -> None:
    """A data set of a stage: a table of labels, or figures alone."""
    file = open_store(stage.uri).scratch() / "part-p0000000-0000002.parquet"
    values = y or []
    rows = {"rollout_id": ["r"] * len(values), "step_index": list(range(len(values))), "y": values}
    pl.DataFrame(rows).write_parquet(file)
    receipt = dataset.finish_shard(stage.uri, "s", [file], {})
    dataset.publish(
        stage.uri, {"kind": stage.kind, "key": stage.key, "figures": figures}, [receipt]
    )


def planned(tmp_path: Path, rounds: int) -> dict[str, Stage]:
    given = {"out": str(tmp_path / "out"), "policy": {"path": str(tiny_policy())}}
    labels = {"method": "fitted_q", "rounds": rounds}
    return pipeline.plan(RunConfig.model_validate({**given, "labels": labels}))


def test_the_rounds_side_by_side(tmp_path: Path) -> None:
    stages = planned(tmp_path, 3)
    for name, y in (("labels_1", [0.0, 1.0]), ("labels_2", [0.5, 1.0])):
        publish(stages[name], {}, y)
    publish(stages["qvm_1"], FIGURES, None)
    publish(stages["qvm_2"], {**FIGURES, "regret": REGRET}, None)
    one, two = round_rows(stages)  # the last is not there yet
    assert (one["round"], one["change"], one["regret"]) == (1, None, {})
    assert one["auc"] == {"first": 0.75, "final": 0.875}  # Q* where it is known
    assert (two["change"], two["regret"]) == (0.25, {"first": 0.125})
    screen = Console(width=80, record=True, file=io.StringIO())
    screen.print(rounds_table([one, two]))
    lines = screen.export_text().splitlines()
    assert not any("…" in line for line in lines)
    assert lines[-2].split() == ["1", "1,200", ".250", ".750", ".875", "-", "-"]
    assert lines[-1].split() == ["2", "1,200", ".250", ".750", ".875", ".125", ".250"]


def test_models_outlive_their_labels(tmp_path: Path) -> None:
    stages = planned(tmp_path, 2)
    for name in ("qvm_1", "qvm"):
        publish(stages[name], FIGURES, None)
    assert [row["change"] for row in round_rows(stages)] == [None, None]


def test_rounds_of_another_method_are_refused(qstar: Qstar, config: Path, tmp_path: Path) -> None:
    result = qstar("train-qvm", config, "--rounds", "3")
    assert result.returncode == 2
    assert "best_of_rollouts has no rounds" in result.stderr
    assert "--method fitted_q --rounds 3" in result.stderr
    missing = qstar("train-qvm", config, *ROUNDS)
    assert missing.returncode == 2
    assert "labels_1: its input problems is not there yet" in missing.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.long
def test_rounds_go_on_after_kill_nine(
    qstar: Qstar, config: Path, prefect_server: str, tmp_path: Path
) -> None:
    """Killed at a moment in each third of the rounds, then run again: equal, byte for byte."""
    env = {"PREFECT_API_URL": prefect_server}

    def prepared(name: str) -> Path:
        out = tmp_path / name
        made = qstar("rollouts", config, "--out", out, **env)
        assert made.returncode == 0, made.stderr
        return out

    def begin(out: Path) -> Any:
        return killing.qstar("train-qvm", config, *ROUNDS, "--out", out, env=env)

    whole = prepared("whole")
    killing.finish(begin(whole))
    seconds = killing.finish(begin(prepared("timing")))
    expected = parquet_files(whole)
    kinds = [path.parent.parent.name for path in whole.glob("*/*/manifest.json")]
    assert (kinds.count("labels"), kinds.count("qvm")) == (3, 3)
    rng, left = random.Random(), []
    for third in range(3):
        out = prepared(f"killed-{third}")
        moment = seconds * (0.3 + 0.7 * (third + rng.random()) / 3)  # after the start
        process = begin(out)
        try:
            process.wait(moment)
        except killing.subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        left.append(len(list(out.glob("*/*/manifest.json"))))
        killing.finish(begin(out))
        assert parquet_files(out) == expected, f"killed after {moment:.2f} s with {left[-1]} made"
        assert unfinished(out) == []
        assert weights(out) == weights(whole)
    table = qstar("train-qvm", config, *ROUNDS, "--out", whole, **env)
    assert "qvm is already there." in table.stdout and "mean change" in table.stdout


def weights(out: Path) -> dict[str, bytes]:
    """The weights of each round's model, by the key."""
    return {f.parent.name: f.read_bytes() for f in out.glob("qvm/*/model.safetensors")}
