from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForTokenClassification

from flows.remarks import remarks
from qstar_core import jobs, pipeline
from qstar_core.config import CountdownRanges, EvaluationConfig, PrmConfig, RunConfig
from qstar_core.domains import countdown_problems
from qstar_core.errors import UserError
from qstar_core.loading import load_reward_model
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.provenance.garbage import planned
from qstar_core.provenance.rerun import prepare
from qstar_core.reward_model import LABEL, reworded, targets
from tests.models import tiny_policy
from tests.test_jobs import play

PROBLEMS = countdown_problems.generate("train", 9, CountdownRanges(numbers=(3,)), seed=0)
TRAINING = {"epochs": 1.0, "holdout": 0.4, "bf16": False, "batch_size": 8, "warmup_steps": 1}
ASTAR = {"name": "A*", "algorithm": "astar", "reward": "prm"}


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 0.99))
def test_hard_estimation_is_above_the_threshold_and_soft_is_the_mean(
    y: list[float], threshold: float
) -> None:
    labels = pl.DataFrame({"y": y, "action": ["a"] * len(y)})
    hard = targets(labels, PrmConfig(threshold=threshold))
    assert hard["y"].to_list() == [float(each > threshold) for each in y]
    soft = targets(labels, PrmConfig(estimation="soft", threshold=threshold))
    assert soft.equals(labels)


def test_errors_of_the_trainer_name_the_fields_of_the_reward_model() -> None:
    with pytest.raises(UserError) as caught, reworded():
        raise UserError("the Q-value model: qvm.loss", safe="all", next_step="--set qvm.epochs=1")
    error = caught.value
    assert error.what == "the process reward model: prm.loss"
    assert (error.safe, error.next_step) == ("all", "--set prm.epochs=1")


def annotations(folder: Path) -> Path:
    """Plays of the problems, every other one called right."""
    rows = []
    for problem in PROBLEMS:
        for place in (0, 1):
            steps = play(problem, place)
            labels = [place == 0] * len(steps)
            reference = json.loads(problem.reference)
            row = {"question": problem.prompt, "reference": reference, "steps": steps}
            rows.append({**row, "labels": labels})
    file = folder / "annotations.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def make(run: RunConfig, *names: str) -> dict[str, Any]:
    """Makes the data sets of some stages; returns the manifest of the last."""
    stages = pipeline.plan(run, until="prm")
    manifest: dict[str, Any] = {}
    for name in names:
        stage = stages[name]
        specs = pipeline.shards(stage, run)
        receipts = [jobs.JOBS[stage.kind](spec, run, lambda *_: None) for spec in specs]
        manifest = pipeline.publish(stage, run, receipts)
    return manifest


def run_of(tmp_path: Path, test: list[Any], **prm: Any) -> RunConfig:
    """A run on annotations whose test problems are given."""
    file = tmp_path / "test.jsonl"
    file.write_text("".join(problem.reference + "\n" for problem in test))
    return RunConfig.model_validate(
        {
            "out": str(tmp_path / "out"),
            "policy": {"path": str(tiny_policy())},
            "domain": {"train_problems": 1, "test_file": str(file), "ranges": {"numbers": 3}},
            "prm": {**TRAINING, "annotations": str(annotations(tmp_path)), **prm},
            "evaluation": {"methods": [ASTAR], "baseline": "A*"},
        }
    )


OTHER = countdown_problems.generate("test", 2, CountdownRanges(numbers=(4,)), seed=1)


def test_a_reward_model_of_annotations_is_a_plain_checkpoint(tmp_path: Path) -> None:
    run = run_of(tmp_path, OTHER)
    manifest = make(run, "problems", "annotations", "prm")
    assert manifest["figures"]["right_share"] == 0.5
    assert manifest["figures"]["updates"] >= 1 and "allowed" not in manifest["figures"]
    folder = resolve_checkpoint(manifest["uri"], "prm.path")
    model = AutoModelForTokenClassification.from_pretrained(folder)
    assert model.config.id2label == {0: LABEL}
    method = run.evaluation.methods[0]
    inputs = {"prm": manifest["uri"]}
    trained = load_reward_model(run, method, inputs)
    named = run.model_copy(update={"prm": PrmConfig(path=manifest["uri"])})
    given = load_reward_model(named, method, {})
    assert trained is not None and given is not None
    texts = [PROBLEMS[0].prompt + play(PROBLEMS[0], 0)[0]]
    assert trained.score(texts, [False]) == given.score(texts, [False])
    assert load_reward_model(run, method, {}) is None  # none is named, and none trained


def test_annotations_of_test_problems_are_refused_unless_allowed_by_name(tmp_path: Path) -> None:
    run = run_of(tmp_path, [PROBLEMS[0], *OTHER])
    make(run, "problems", "annotations")
    with pytest.raises(UserError, match=r"prm: 1 of 3 test problems are training") as caught:
        make(run, "prm")
    assert "prm.annotations" in caught.value.next_step
    assert "qstar train-prm CONFIG --set 'prm.allow=[leakage]'" in caught.value.next_step
    assert not list((tmp_path / "out").rglob("*.safetensors"))

    allowed = run_of(tmp_path, [PROBLEMS[0], *OTHER], allow=["leakage"])
    manifest = make(allowed, "prm")
    assert manifest["figures"]["allowed"] == {"leakage": 1}
    assert remarks(manifest)[-1].endswith("allowed by prm.allow: leakage")
    stage = pipeline.plan(allowed)["evaluation"]
    pipeline.check_held_out(stage, allowed)
    with pytest.raises(UserError, match="1 of 3 test problems are training") as caught:
        pipeline.check_held_out(pipeline.plan(run)["evaluation"], run)
    assert "nothing was searched" in caught.value.safe


def test_what_train_prm_made_is_made_again_and_kept_though_no_run_needs_it(tmp_path: Path) -> None:
    run = run_of(tmp_path, OTHER)
    unasked = run.model_copy(update={"evaluation": EvaluationConfig()})
    assert "annotations" not in pipeline.plan(unasked)
    make(unasked, "problems", "annotations")
    stages = pipeline.plan(unasked, until="prm")
    prepared = prepare(stages["annotations"].uri, str(tmp_path / "again"))
    assert prepared.target.key == stages["annotations"].key
    assert [stage.name for stage in prepared.stages] == ["annotations"]
    plain = RunConfig(out=str(tmp_path / "out"))  # a section prm of defaults is trained from too
    plain_stages = pipeline.plan(plain, until="prm").values()
    assert planned(plain, plain.out) >= {f"{stage.kind}/{stage.key}" for stage in plain_stages}
    kept = planned(unasked, str(tmp_path / "out"))
    assert kept >= {f"{stage.kind}/{stage.key}" for stage in stages.values()}


def test_a_file_that_changed_after_the_plan_is_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path, OTHER)
    stage = pipeline.plan(run)["annotations"]
    [spec] = pipeline.shards(stage, run)
    annotations(tmp_path).write_text("{}\n")
    with pytest.raises(UserError, match=r"prm\.annotations: .* has changed since the run was"):
        jobs.step_annotations(spec, run, lambda *_: None)
