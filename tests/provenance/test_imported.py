"""Data sets of imported rollouts, and of runs that hold nothing out: verified, made again, kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.pipeline import Stage
from qstar_core.provenance import outcome as outcomes
from qstar_core.provenance import rerun
from qstar_core.provenance.garbage import planned
from qstar_core.provenance.verify import verify
from tests.rollouts.import_rows import row, write

from .runs import edit, make


def config_of(out: Path, file: Path, **sections: Any) -> RunConfig:
    """A run of deployments/import-example.yaml's kind: gsm8k, without problems to evaluate on."""
    rollouts = {"import_file": str(file)}
    given = {"domain": {"name": "gsm8k"}, "rollouts": rollouts, "out": str(out)}
    return RunConfig.model_validate({**given, **sections})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "f.jsonl", [row(1), "broken", row(2, ["#### 2", "2"])])


@pytest.fixture
def stages(tmp_path: Path, file: Path) -> dict[str, Stage]:
    """The stages of the import, made up to the labels."""
    return make(config_of(tmp_path / "out", file))


def test_what_was_imported_is_intact_and_made_again_equal(
    stages: dict[str, Stage], tmp_path: Path
) -> None:
    found = verify(stages["labels"].uri, deep=True)
    assert [(each.kind, each.findings) for each in found] == [
        ("labels", []),
        ("problems", []),
        ("rollouts", []),
    ]
    for name in ("problems", "rollouts", "labels"):
        again = rerun.prepare(stages[name].uri, str(tmp_path / "again"))
        assert again.target.key == stages[name].key
        assert rerun.key_differences(again) == []
        make(again.config, name)
        outcome = outcomes.compare(again)
        assert outcome.equal
        assert outcome.rows is not None
        assert outcome.rows.equal == again.manifest["rows"]


def test_a_seed_that_was_changed_in_an_import_is_still_found(stages: dict[str, Stage]) -> None:
    uri = stages["rollouts"].uri
    edit(uri, lambda m: m["rows_from"].update(seed=3))
    assert any("seed is 0 in config" in each.what for each in verify(uri)[0].findings)


def test_an_imported_file_that_has_moved_is_said_with_the_override(
    stages: dict[str, Stage], tmp_path: Path, file: Path
) -> None:
    uri, again = stages["labels"].uri, str(tmp_path / "again")
    moved = file.rename(tmp_path / "moved.jsonl")
    with pytest.raises(UserError, match=r"rollouts\.import_file: .*, which the manifest") as caught:
        rerun.prepare(uri, again)
    assert "--set rollouts.import_file=PATH" in caught.value.next_step
    sets = [f"rollouts.import_file={moved}"]
    assert rerun.key_differences(rerun.prepare(uri, again, sets)) == []
    edit(uri, lambda m: m["config"]["policy"].update(path="/gone"))  # which no import asks for
    assert rerun.prepare(uri, again, sets).target.key == stages["labels"].key


def test_what_an_import_makes_is_kept_with_its_value_model(
    stages: dict[str, Stage], tmp_path: Path, file: Path
) -> None:
    kept = planned(config_of(tmp_path, file), str(tmp_path / "out"))
    assert {f"{name}/{stages[name].key}" for name in ("problems", "rollouts", "labels")} < kept
    assert sorted(leaf.partition("/")[0] for leaf in kept) == [
        "labels",
        "labels",  # of the process reward model
        "prm",
        "problems",
        "qvm",
        "rollouts",
        "sft",
    ]
    given = config_of(tmp_path, file, qvm={"path": "reference:countdown-qvm"})
    kinds = sorted(leaf.partition("/")[0] for leaf in planned(given, "x"))
    assert kinds == ["labels", "prm", "problems", "rollouts"]  # a reward model needs no Q-values
