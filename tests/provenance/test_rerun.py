from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.domains import countdown
from qstar_core.errors import UserError
from qstar_core.jobs import JOBS
from qstar_core.keys import content_id
from qstar_core.provenance import outcome as outcomes
from qstar_core.provenance import rerun
from qstar_core.provenance.diff import diff
from qstar_core.provenance.manifests import Manifest, read, relatives
from qstar_core.stage import ROWS_VERSION

from .runs import TREE, config_of, edit, make, swap


def again(planned: rerun.Rerun, from_inputs: bool = False) -> outcomes.Outcome:
    if from_inputs:
        rerun.take_inputs(planned)
    make(planned.config, planned.target.name)
    return outcomes.compare(planned)


def test_labels_are_made_again_with_all_before_them(labels: Path, tmp_path: Path) -> None:
    planned = rerun.prepare(str(labels), str(tmp_path / "again"))
    assert [stage.name for stage in planned.stages] == ["problems", "rollouts", "labels"]
    assert rerun.key_differences(planned) == []
    outcome = again(planned)
    assert outcome.equal
    assert outcome.rows is not None
    assert outcome.rows.equal == planned.manifest["rows"]
    assert (tmp_path / "again" / "labels" / labels.name / "manifest.json").is_file()


def test_from_its_inputs_only_the_last_stage_is_made(labels: Path, tmp_path: Path) -> None:
    planned = rerun.prepare(f"{labels}/manifest.json", str(tmp_path / "again"))
    assert again(planned, from_inputs=True).equal
    assert (tmp_path / "again" / "rollouts" / planned.stages[1].key).is_symlink()
    assert not (tmp_path / "again" / "labels").is_symlink()


def test_an_input_that_is_gone_is_said(labels: Path, rollouts: Path, tmp_path: Path) -> None:
    shutil.rmtree(rollouts)
    planned = rerun.prepare(str(labels), str(tmp_path / "again"))
    with pytest.raises(UserError, match="the input rollouts is not beside") as caught:
        rerun.take_inputs(planned)
    assert "qstar reproduce" in caught.value.next_step


def test_an_input_that_would_have_another_key_is_not_taken(labels: Path, tmp_path: Path) -> None:
    planned = rerun.prepare(str(labels), str(tmp_path / "again"), ["rollouts.temperature=0.5"])
    with pytest.raises(UserError, match=r"the input rollouts .* gives") as caught:
        rerun.take_inputs(planned)
    assert caught.value.safe == "nothing was started"
    assert not (tmp_path / "again" / "rollouts").exists()


def test_the_policy_of_a_pool_that_has_moved_is_said_with_the_override(
    labels: Path, tmp_path: Path
) -> None:
    pools = [{"kind": "states"}, {"kind": "stronger", "policy": {"path": "/gone/away"}}]
    edit(labels, lambda m: m["config"].update(pools=pools))
    with pytest.raises(UserError, match=r"pools\.1\.policy\.path: /gone/away, which") as caught:
        rerun.prepare(str(labels), str(tmp_path))
    assert "--set pools.1.policy.path=PATH" in caught.value.next_step


def test_limits_of_the_run_are_lifted(rollouts: Path, tmp_path: Path) -> None:
    edit(rollouts, lambda m: m["config"]["runtime"].update(max_tokens=1, max_hours=0.1))
    config = rerun.prepare(str(rollouts), str(tmp_path), ["runtime.workers=1"]).config
    assert (config.runtime.max_tokens, config.runtime.max_hours) == (None, None)


def _seed(manifest: Manifest) -> None:
    manifest["config"]["seed"] = 7


def _hidden_seed(manifest: Manifest) -> None:
    manifest["config"]["seed"] = 7
    manifest["rows_from"]["seed"] = 7
    manifest["rows_from"]["problems"]["seed"] = 7
    manifest["key"] = content_id(manifest["rows_from"])


def test_a_changed_seed_is_named(rollouts: Path, labels: Path, tmp_path: Path) -> None:
    edit(rollouts, _seed)
    found = rerun.key_differences(rerun.prepare(str(rollouts), str(tmp_path)))
    assert ("rollouts", "seed", 0, 7) in found
    assert ("problems", "train.seed", 0, 7) in found
    edit(labels, _seed)
    found = rerun.key_differences(rerun.prepare(str(labels), str(tmp_path)))
    assert ("rollouts", "seed", 0, 7) in found
    assert not [each for each in found if each[0] == "labels"]  # said where it comes from


def test_a_seed_changed_everywhere_gives_other_rows(rollouts: Path, tmp_path: Path) -> None:
    edit(rollouts, _hidden_seed)
    planned = rerun.prepare(str(rollouts), str(tmp_path / "again"))
    assert planned.manifest["key"] == planned.target.key
    outcome = again(planned)
    assert not outcome.equal
    assert outcome.rows is not None
    assert outcome.rows.equal == 0
    assert outcome.rows.only[1] == 48


def test_swapped_shards_stand_elsewhere(rollouts: Path, tmp_path: Path) -> None:
    planned = rerun.prepare(str(rollouts), str(tmp_path / "again"))
    one, other = sorted(rollouts.glob("*.parquet"))[:2]
    swap(one, other)
    outcome = again(planned)
    assert outcome.rows is not None
    assert outcome.rows.same_rows
    assert outcome.rows.moved == 32
    assert not outcome.equal


def test_other_code_and_another_checkpoint_are_named(
    labels: Path, rollouts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROWS_VERSION, "labels", 99)
    planned = rerun.prepare(str(labels), str(tmp_path))
    before = planned.manifest["rows_from"]["rows_version"]
    assert rerun.key_differences(planned) == [("labels", "rows_version", before, 99)]
    sets = ["policy.path=reference:countdown-policy"]
    planned = rerun.prepare(str(rollouts), str(tmp_path), sets)
    ((stage, field, *_),) = rerun.key_differences(planned)
    assert (stage, field) == ("rollouts", "policy")


def test_a_key_that_was_forged_alone_is_named(rollouts: Path, tmp_path: Path) -> None:
    edit(rollouts, lambda m: m.update(key="0" * 24))
    planned = rerun.prepare(str(rollouts), str(tmp_path))
    assert rerun.key_differences(planned) == [("rollouts", "key", "0" * 24, planned.target.key)]


@pytest.mark.parametrize("field", ["domain.train_file", "policy.path", "qvm.init"])
def test_a_file_or_folder_that_has_moved_is_said_with_the_override(
    rollouts: Path, tmp_path: Path, field: str
) -> None:
    section, name = field.split(".")
    edit(rollouts, lambda m: m["config"][section].update({name: "/gone/away"}))
    with pytest.raises(UserError, match=f"{field}: /gone/away, which the manifest names") as caught:
        rerun.prepare(str(rollouts), str(tmp_path))
    assert f"--set {field}=PATH" in caught.value.next_step


def test_a_problem_file_may_lie_elsewhere_but_not_hold_others(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"numbers": [1, 2, 3], "target": 6}\n')
    domain = {"train_file": str(file), "test_problems": 2}
    stage = make(config_of(str(tmp_path / "out"), domain=domain), "rollouts")["rollouts"]
    moved = tmp_path / "moved.jsonl"
    file.rename(moved)
    sets = [f"domain.train_file={moved}"]
    planned = rerun.prepare(stage.uri, str(tmp_path / "again"), sets)
    assert rerun.key_differences(planned) == []
    moved.write_text('{"numbers": [1, 2, 3], "target": 5}\n')
    planned = rerun.prepare(stage.uri, str(tmp_path / "again"), sets)
    assert ("rollouts", "problems.file") in {each[:2] for each in rerun.key_differences(planned)}


@pytest.mark.parametrize("kind", rerun.PAGES)
def test_a_page_has_no_rows_to_reproduce(rollouts: Path, tmp_path: Path, kind: str) -> None:
    edit(rollouts, lambda m: m.update(kind=kind))
    with pytest.raises(UserError, match="no rows to compare"):
        rerun.prepare(str(rollouts), str(tmp_path))
    edit(rollouts, lambda m: m.update(kind="soup"))
    with pytest.raises(UserError, match="no stage of its configuration"):
        rerun.prepare(str(rollouts), str(tmp_path))


def test_what_needs_a_comparison_is_planned_with_it(rollouts: Path, tmp_path: Path) -> None:
    edit(rollouts, lambda m: m.update(kind="comparison"))
    planned = rerun.prepare(str(rollouts), str(tmp_path))
    names = ["problems", "rollouts", "labels", "qvm", "comparison"]
    assert [stage.name for stage in planned.stages] == names


@pytest.mark.parametrize("several", [False, True])
def test_other_versions_of_packages_are_said(several: bool) -> None:
    now = outcomes.environment.describe()
    then: dict[str, Any] = {**now, "python": "2.7", "interpreter": "/else", "cores": 99}
    then["packages"] = {**now["packages"], "torch": "0.1", "gone": "1"}
    manifest = {"environment": [now, then] if several else then}
    found = outcomes.environment_differences(manifest)
    assert ("python", "2.7", now["python"]) in found
    assert ("torch", "0.1", now["packages"]["torch"]) in found
    assert {name for name, *_ in found} == {"python", "torch", "gone"}
    assert outcomes.environment_differences({"environment": now}) == []
    assert outcomes.environment_differences({"environment": []}) == []


def test_another_grader_regrades_and_samples_nothing(
    out: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generous(problem: Any, steps: Any) -> Any:
        return countdown.Grade(countdown.Outcome.CORRECT, "any")

    before = pipeline.plan(config_of(str(out)))
    monkeypatch.setattr(countdown, "grade", generous)
    monkeypatch.setattr(countdown, "GRADER_VERSION", "2")
    monkeypatch.setattr("qstar_core.jobs.load_policy", None)  # whoever samples fails
    after = make(config_of(str(out)))
    assert after["rollouts"].key == before["rollouts"].key
    assert after["labels"].key != before["labels"].key
    found = diff(before["labels"].uri, after["labels"].uri)
    assert not any(found.only)
    assert all("grader_version 1 -> 2" in words for words in found.reasons)
    assert any("outcome" in words and words.startswith("y changed") for words in found.reasons)


def test_labels_of_the_same_rollouts_are_relatives(out: Path, labels: Path) -> None:
    manifest = read(str(labels))
    assert relatives(str(labels), manifest) == []
    other = make(config_of(str(out), labels={"gamma": 0.5}))["labels"]
    assert relatives(str(labels), manifest) == [other.uri]
    edit(other.uri, lambda m: m["inputs"].update(rollouts="0" * 24))
    assert relatives(str(labels), manifest) == []
    assert relatives("elsewhere", manifest) == []


def test_documents_that_differ_are_said_and_decide_nothing() -> None:
    assert outcomes.Outcome(None, ["CARD.md"], 2).equal
    assert not outcomes.Outcome(None, ["CARD.md", "model.safetensors"], 2).equal


def test_stages_of_one_kind_are_told_apart_by_what_made_them(labels: Path, tmp_path: Path) -> None:
    planned = rerun.prepare(str(labels), str(tmp_path))
    near, far = (
        replace(planned.target, key="0" * 24, rows={**planned.target.rows, **more})
        for more in ({"gamma": 0.5}, {"gamma": 0.5, "method": "another"})
    )
    unlike = rerun._unlike(planned.manifest)
    assert min((far, planned.target, near), key=unlike) == planned.target
    assert min((far, near), key=unlike) == near


def test_a_data_set_on_s3_is_made_again_here(bucket: str, tmp_path: Path) -> None:
    stage = make(config_of(f"{bucket}/out"))["labels"]
    planned = rerun.prepare(stage.uri, str(tmp_path / "again"))
    assert again(planned, from_inputs=True).equal
    assert (tmp_path / "again" / "rollouts" / planned.stages[1].key / "manifest.json").is_file()


def iterated(out: Path) -> RunConfig:
    """Two rounds of a run whose policy solves some problems."""
    small = {
        "rounds": 2,
        "out": str(out),
        "domain": {
            "train_problems": 24,
            "test_problems": 3,
            "ranges": {"numbers": 3, "max_number": 6, "min_target": 1, "max_target": 12},
        },
        "policy": {"path": "reference:countdown-policy"},
        "rollouts": {"samples": 2, "max_new_tokens": 40},
        "qvm": {"epochs": 0.1, "holdout": 0.4, "bf16": False},
        "sft": {"epochs": 0.1, "min_problems": 1, "holdout": 0.0, "bf16": False},
        "evaluation": {"max_policy_tokens": 60, "bootstrap_samples": 100},
    }
    return RunConfig.model_validate({**TREE, **small})


def make_all(stages: list[pipeline.Stage], first: RunConfig, later: Any) -> None:
    for stage in stages:
        if pipeline.published(stage) is None:
            config = later.get(stage.uri, first)
            specs = pipeline.shards(stage, config)
            receipts = [JOBS[stage.kind](spec, config, lambda *_: None) for spec in specs]
            pipeline.publish(stage, config, receipts)


def test_the_rounds_of_expert_iteration_are_planned_with_their_configurations(
    rollouts: Path, tmp_path: Path
) -> None:
    edit(rollouts, lambda m: (m.update(kind="rounds"), m["config"].update(rounds=3)))
    planned = rerun.prepare(str(rollouts), str(tmp_path / "again"))
    names = [stage.name for stage in planned.stages]
    assert (names.count("evaluation"), names.count("sft"), names[-1]) == (3, 2, "rounds")
    assert "report" not in names
    policies = [stage.uri for stage in planned.stages if stage.kind == "sft"]
    assert {c.policy.path for c in planned.rounds.values()} == set(policies)
    first = [stage for stage in planned.stages if stage.uri not in planned.rounds]
    assert [stage.name for stage in first if stage.kind == "rollouts"] == ["rollouts"]
    edit(rollouts, lambda m: m["config"].update(rounds=1))
    with pytest.raises(UserError, match="no stage of its configuration"):
        rerun.prepare(str(rollouts), str(tmp_path / "again"))


@pytest.mark.slow
def test_the_rounds_of_expert_iteration_are_made_again(tmp_path: Path) -> None:
    config = iterated(tmp_path / "out")
    plan, later = rerun._plan_rounds(config)
    whole = next(stage for stage in plan.values() if stage.kind == "rounds")
    make_all(rerun._needed(plan, whole, later), config, later)
    planned = rerun.prepare(whole.uri, str(tmp_path / "again"))
    assert rerun.key_differences(planned) == []
    make_all(planned.stages, planned.config, planned.rounds)
    outcome = outcomes.compare(planned)
    assert outcome.equal and outcome.rows is not None
    assert outcome.rows.equal == 2 * len(config.evaluation.methods)
    changed = rerun.prepare(whole.uri, str(tmp_path / "other"), ["rollouts.temperature=0.5"])
    found = rerun.key_differences(changed)
    assert ("rollouts", "temperature", 1.0, 0.5) in found
    assert {stage for stage, *_ in found} == {"rollouts"}
