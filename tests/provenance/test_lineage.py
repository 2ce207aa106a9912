from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from qstar_core.errors import UserError
from qstar_core.provenance.lineage import COMPLETE, MISSING, lineage
from qstar_core.store import open_store

from .runs import config_of, edit, flip, make


def test_the_inputs_of_labels_back_to_the_problems(labels: Path, out: Path) -> None:
    node = lineage(str(labels))
    assert (node.name, node.key, node.state) == ("labels", labels.name, COMPLETE)
    assert [each.name for each in node.inputs] == ["problems", "rollouts"]
    problems, rollouts = node.inputs
    assert rollouts.inputs == [problems]
    assert (rollouts.rows, problems.inputs) == (48, [])
    assert Path(problems.uri).parent == out / "problems"
    assert node.complete
    assert json.loads(json.dumps(node.to_dict()))["inputs"][1]["inputs"][0]["key"] == problems.key


def test_what_decided_each_data_set(labels: Path) -> None:
    node = lineage(f"{labels}/manifest.json")
    assert node.decided["method"] == "best_of_rollouts"
    assert "rollouts" not in node.decided  # the key of an input is shown as that input
    problems, rollouts = node.inputs
    assert rollouts.decided["samples"] == 4
    assert not [name for name in rollouts.decided if name.startswith("problems")]
    assert problems.decided["train.ranges.numbers"] == 3


def test_what_is_gone_or_damaged_is_said(labels: Path, rollouts: Path) -> None:
    part = sorted(rollouts.glob("*.parquet"))[0]
    part.write_bytes(b"")
    node = lineage(str(labels))
    assert "missing or damaged" in node.inputs[1].state
    assert node.inputs[1].inputs[0].state == COMPLETE
    assert not node.complete
    flip(rollouts / "manifest.json", 0)
    assert "is damaged" in lineage(str(labels)).inputs[1].state
    shutil.rmtree(rollouts)
    assert lineage(str(labels)).inputs[1].state == MISSING
    with pytest.raises(UserError, match="no complete data set"):
        lineage(str(rollouts))


def test_a_model_named_by_its_data_set_is_followed(out: Path, labels: Path) -> None:
    config = config_of(str(out), qvm={"path": str(labels)})
    edit(labels, lambda m: m["config"].update(config.model_dump(mode="json")))
    assert len(lineage(str(labels)).inputs) == 2  # not itself
    (problems,) = (out / "problems").iterdir()
    given = config_of(str(out), qvm={"path": str(labels)}).model_dump(mode="json")
    edit(problems, lambda m: m.update(config=given))
    model = lineage(str(problems)).inputs[0]
    assert (model.name, model.uri) == ("model", str(labels))


def test_a_circle_ends(rollouts: Path, out: Path) -> None:
    (problems,) = (out / "problems").iterdir()
    edit(problems, lambda m: m.update(inputs={"rollouts": rollouts.name}))
    node = lineage(str(rollouts))
    assert node.inputs[0].inputs[0].state == "an input of itself"


def test_from_inside_of_the_output_folder(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(labels.parent.parent)
    assert lineage(f"labels/{labels.name}").complete


def test_on_s3(bucket: str) -> None:
    stage = make(config_of(f"{bucket}/out"), "rollouts")["rollouts"]
    node = lineage(stage.uri)
    assert node.complete
    assert node.inputs[0].uri.startswith(f"{bucket}/out/problems/")
    open_store(node.inputs[0].uri).delete("manifest.json")
    assert lineage(stage.uri).inputs[0].state == MISSING
