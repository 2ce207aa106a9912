from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.planning import made_first
from qstar_core.stage import Stage
from tests.models import tiny_policy, tiny_qvm

ASTAR = {"name": "A*", "algorithm": "astar", "reward": "prm"}
JUDGED = {"evaluation": {"methods": [ASTAR], "baseline": "A*"}}


def config(tmp_path: Path, **more: Any) -> RunConfig:
    given = {"out": str(tmp_path / "out"), "policy": {"path": str(tiny_policy())}, **more}
    return RunConfig.model_validate(given)


def plan(tmp_path: Path, until: str | None = None, **more: Any) -> dict[str, Stage]:
    return pipeline.plan(config(tmp_path, **more), until=until)


def annotated(tmp_path: Path, content: str = "x", **prm: Any) -> dict[str, Any]:
    file = tmp_path / "annotations.jsonl"
    file.write_text(content)
    return {"prm": {"annotations": str(file), **prm}}


def test_a_run_trains_one_where_a_method_asks_it_and_none_is_named(tmp_path: Path) -> None:
    usual = ["problems", "rollouts", "labels", "qvm", "evaluation", "report"]
    assert list(plan(tmp_path)) == usual
    stages = plan(tmp_path, **JUDGED)
    assert list(stages) == ["problems", "rollouts", "labels_prm", "prm", *usual[2:]]
    assert stages["labels_prm"].kind == "labels" and stages["prm"].kind == "prm"
    assert list(stages["labels_prm"].inputs) == ["problems", "rollouts"]
    assert list(stages["prm"].inputs) == ["problems", "labels_prm"]
    assert list(stages["evaluation"].inputs) == ["problems", "qvm", "prm"]
    assert stages["evaluation"].rows["prm"] == stages["prm"].key
    named = plan(tmp_path, prm={"path": str(tiny_qvm())}, **JUDGED)
    assert list(named) == usual and named["evaluation"].key != stages["evaluation"].key


def test_train_prm_plans_one_whatever_the_methods(tmp_path: Path) -> None:
    stages = plan(tmp_path, until="prm")
    assert made_first(stages, "prm") == ["labels_prm"]
    assert list(stages) == ["problems", "rollouts", "labels_prm", "prm"]
    assert stages["prm"] == plan(tmp_path, **JUDGED)["prm"]
    assert "prm" not in plan(tmp_path, until="prm", prm={"path": str(tiny_qvm())})


def test_its_labels_are_those_of_the_mean_of_rollouts(tmp_path: Path) -> None:
    stages = plan(tmp_path, **JUDGED)
    mean = plan(tmp_path, labels={"method": "mean_of_rollouts"})
    assert stages["labels_prm"].key == mean["labels"].key
    discounted = plan(tmp_path, labels={"method": "mean_of_rollouts", "gamma": 0.9}, **JUDGED)
    assert discounted["labels_prm"] == stages["labels_prm"]  # gamma is of the Q-labels
    pooled = plan(tmp_path, pools=[{"kind": "states"}], **JUDGED)
    assert "pool_states" in pooled["labels_prm"].inputs
    assert made_first(pooled, "labels") == []


def test_a_given_value_model_leaves_the_rollouts_for_the_reward_model(tmp_path: Path) -> None:
    stages = plan(tmp_path, qvm={"path": str(tiny_qvm())}, **JUDGED)
    assert list(stages) == ["problems", "rollouts", "labels_prm", "prm", "evaluation", "report"]


def test_annotations_need_no_rollouts(tmp_path: Path) -> None:
    given = {**annotated(tmp_path), "qvm": {"path": str(tiny_qvm())}, **JUDGED}
    stages = plan(tmp_path, **given)
    assert list(stages) == ["problems", "annotations", "prm", "evaluation", "report"]
    assert list(stages["prm"].inputs) == ["problems", "annotations"]
    assert list(stages["evaluation"].inputs) == ["problems", "prm", "annotations"]
    assert made_first(stages, "prm") == ["problems", "annotations"]
    assert pipeline.estimate(stages["prm"], config(tmp_path, **given))["unit"] == "uncounted"
    bare = {**annotated(tmp_path), "domain": {"name": "gsm8k"}}  # no problems of any split
    assert list(plan(tmp_path, "prm", **bare)) == ["problems", "annotations", "prm"]


def test_the_content_of_annotations_and_what_neutral_means_are_in_their_key(
    tmp_path: Path,
) -> None:
    def keys(**given: Any) -> tuple[str, str]:
        stages = plan(tmp_path, **given, **JUDGED)
        return stages["annotations"].key, stages["prm"].key

    base = keys(**annotated(tmp_path))
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_text("x")
    assert keys(prm={"annotations": str(moved)}) == base
    for content, neutral in (("y", "right"), ("x", "wrong")):
        assert not set(keys(**annotated(tmp_path, content, neutral=neutral))) & set(base)


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({"threshold": 0.5}, True),
        ({"estimation": "soft"}, True),
        ({"neutral": "wrong"}, False),  # of annotations
        ({"epochs": 9.0}, True),
        ({"dtype": "float32"}, False),  # of scoring
        ({"score_batch_size": 3}, False),
        ({"allow": ["leakage"]}, False),
    ],
)
def test_what_training_does_not_look_at_is_in_no_key_of_it(
    tmp_path: Path, fields: dict[str, Any], changes: bool
) -> None:
    base, other = plan(tmp_path, "prm"), plan(tmp_path, "prm", prm=fields)
    assert (base["prm"].key != other["prm"].key) == changes
    assert base["labels_prm"] == other["labels_prm"]


def test_a_threshold_is_no_part_of_soft_estimation_nor_of_annotations(tmp_path: Path) -> None:
    def key(**prm: Any) -> str:
        return plan(tmp_path, "prm", prm=prm)["prm"].key

    assert key(estimation="soft") == key(estimation="soft", threshold=0.5)
    given = annotated(tmp_path)["prm"]
    assert key(**given) == key(**given, estimation="soft", threshold=0.5)


def test_a_missing_file_of_annotations_is_said_by_its_field(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prm\.annotations: no such file: /nowhere") as caught:
        plan(tmp_path, "prm", prm={"annotations": "/nowhere"})
    assert '"labels": [false, false]' in caught.value.next_step
    with pytest.raises(UserError, match=r"prm\.init"):
        plan(tmp_path, "prm", prm={"init": "/nowhere"})


def test_imported_rollouts_need_no_model_before_training(tmp_path: Path) -> None:
    file = tmp_path / "i.jsonl"
    file.write_text("not read before the run\n")
    given = {"rollouts": {"import_file": str(file)}, "domain": {"name": "gsm8k"}, **JUDGED}
    given["policy"] = {"path": "/nowhere"}
    run = RunConfig.model_validate({"out": str(tmp_path / "out"), **given})
    assert list(pipeline.plan(run, until="labels")) == ["problems", "rollouts", "labels"]
    with pytest.raises(UserError, match=r"policy\.path"):
        pipeline.plan(run, until="prm")


def test_a_comparison_trains_what_its_own_methods_ask(tmp_path: Path) -> None:
    plain = {"name": "greedy", "algorithm": "greedy"}
    given = {"comparison": {"methods": [plain], "baseline": "greedy"}, **JUDGED}
    assert "prm" not in pipeline.plan_comparison(config(tmp_path, **given))
    stages = pipeline.plan_comparison(config(tmp_path, **JUDGED))
    assert stages["comparison"].rows["prm"] == stages["prm"].key
    assert "prm" in stages["comparison"].inputs
