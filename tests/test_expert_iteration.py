from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.policies.identity import identity
from qstar_core.provenance import garbage
from qstar_core.stage import fine_tuned, kind_of
from tests.models import copied, tiny_policy

OF_A_ROUND = ["problems", "rollouts", "labels", "qvm", "evaluation", "report"]


def config(tmp_path: Path, **more: Any) -> RunConfig:
    given = {"out": str(tmp_path / "out"), "policy": {"path": str(tiny_policy())}, **more}
    return RunConfig.model_validate(given)


def keys(each: pipeline.Round) -> dict[str, str]:
    return {name: stage.key for name, stage in each.stages.items()}


def test_a_run_of_one_round_is_what_it_was(tmp_path: Path) -> None:
    run = config(tmp_path)
    [only] = pipeline.rounds(run)
    assert only.stages == pipeline.plan(run) and list(only.stages) == OF_A_ROUND
    assert pipeline.summary(run) is None
    assert only.label("qvm") == "qvm"


def test_each_round_samples_with_the_policy_that_the_one_before_has_trained(tmp_path: Path) -> None:
    run = config(tmp_path, rounds=3)
    found = pipeline.rounds(run)
    assert [list(each.stages) for each in found] == [[*OF_A_ROUND, "sft"]] * 2 + [OF_A_ROUND]
    assert keys(found[0])["qvm"] == pipeline.plan(run)["qvm"].key
    for before, after in pairwise(found):
        assert after.config.policy.path == before.stages["sft"].uri
        key = before.stages["sft"].key
        assert after.stages["rollouts"].rows["policy"] == f"sft:{key}:float64"
        assert after.stages["qvm"].rows["backbone"] == f"sft:{key}"
        assert after.stages["evaluation"].rows["policy"] == f"sft:{key}:float64"
        assert after.stages["problems"] == before.stages["problems"]
        others = [name for name in OF_A_ROUND if name != "problems"]
        assert not {keys(before)[n] for n in others} & {keys(after)[n] for n in others}
        assert after.label("qvm") == f"qvm ({after.number})"


def test_the_stage_is_that_of_the_command(tmp_path: Path) -> None:
    run = config(tmp_path, rounds=2)
    alone = pipeline.plan_policy(config(tmp_path))
    assert list(alone) == ["problems", "rollouts", "sft"]
    assert pipeline.rounds(run)[0].stages["sft"] == alone["sft"]
    assert list(alone["sft"].inputs) == ["problems", "rollouts"]
    assert pipeline.estimate(alone["sft"], run)["shards"] == 1
    with pytest.raises(UserError, match="sft: its input problems is not there") as caught:
        pipeline.check_inputs(alone["sft"])
    assert "qstar rollouts CONFIG" in caught.value.next_step


def test_more_rounds_go_on_from_those_that_are_there(tmp_path: Path) -> None:
    two, three = (pipeline.rounds(config(tmp_path, rounds=n)) for n in (2, 3))
    for number in (0, 1):
        assert keys(two[number]).items() <= keys(three[number]).items()


def test_a_later_round_stands_for_itself(tmp_path: Path) -> None:
    """The configuration in the manifests of a later round gives the keys of that round."""
    for each in pipeline.rounds(config(tmp_path, rounds=3)):
        again = RunConfig.model_validate_json(each.config.model_dump_json())
        _make_believe(again)
        stages = pipeline.plan(again) | pipeline.plan_policy(again)
        assert {name: stages[name].key for name in each.stages} == keys(each)


def _make_believe(run: RunConfig) -> None:
    """Publishes some policy in the place of the fine-tuned one."""
    if key := fine_tuned(run.policy.path):
        copied(tiny_policy(), Path(run.policy.path))
        manifest = Path(run.policy.path) / "manifest.json"
        manifest.write_text(f'{{"key": "{key}", "files": []}}')


def test_each_round_has_a_process_reward_model_of_its_own_policy(tmp_path: Path) -> None:
    methods = [
        {"name": "best-of-N", "algorithm": "best_of_n", "n": 9},
        {"name": "A*", "algorithm": "astar", "reward": "prm"},
    ]
    one, two = pipeline.rounds(config(tmp_path, rounds=2, evaluation={"methods": methods}))
    assert {"labels_prm", "prm"} <= set(one.stages) & set(two.stages)
    assert two.stages["prm"].rows["backbone"] == f"sft:{one.stages['sft'].key}"
    assert one.stages["prm"].key != two.stages["prm"].key


@pytest.mark.parametrize("start", ["base", "previous"])
def test_which_policy_a_later_round_trains(tmp_path: Path, start: str) -> None:
    found = pipeline.rounds(config(tmp_path, rounds=3, sft={"start": start}))
    bases = [each.stages["sft"].rows["base"] for each in found[:2]]
    if start == "base":
        assert bases[0] == bases[1]
        assert found[1].config.sft.base == str(tiny_policy())
    else:
        assert bases[1] == f"sft:{found[0].stages['sft'].key}"
    given = copied(tiny_policy(), tmp_path / "other", initializer_range=0.5)
    for each in pipeline.rounds(config(tmp_path, rounds=2, sft={"base": str(given)}))[:1]:
        assert each.stages["sft"].rows["base"] not in bases


def test_how_the_policy_is_run_is_part_of_its_identity(tmp_path: Path) -> None:
    path = str(tmp_path / "sft" / ("0" * 24))
    names = {
        identity(config(tmp_path, policy={"path": path, **how}).policy)
        for how in (
            {},
            {"dtype": "float32"},
            {"chat": True},
            {"dtype": "float32", "backend": "vllm"},
        )
    }
    assert len(names) == 4 and all(name.startswith(f"sft:{'0' * 24}:float") for name in names)


def test_a_policy_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    missing = config(tmp_path, policy={"path": str(tmp_path / "sft" / ("0" * 24))})
    for plan in (pipeline.plan, pipeline.plan_policy, pipeline.plan_comparison, pipeline.rounds):
        with pytest.raises(UserError, match=r"policy.path: there is no fine-tuned policy at"):
            plan(missing)


@pytest.mark.parametrize(
    "more",
    [
        {"qvm": {"path": "reference:countdown-qvm"}},
        {"rollouts": {"import_file": "x.jsonl"}},
        {"policy": {"backend": "server", "dtype": "float32"}},
        {"policy": {"backend": "vllm", "dtype": "float32", "lora": "x"}},
    ],
)
def test_what_cannot_go_round_is_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="rounds: 2 needs rollouts of each policy"):
        config(tmp_path, rounds=2, **more)
    config(tmp_path, **more)


def test_no_policy_is_trained_without_rollouts(tmp_path: Path) -> None:
    given = config(tmp_path, qvm={"path": "reference:countdown-qvm"})
    with pytest.raises(UserError, match="no rollouts to train a policy on"):
        pipeline.plan_policy(given)


def test_the_summary_reads_the_evaluation_of_each_round(tmp_path: Path) -> None:
    run = config(tmp_path, rounds=2)
    whole = pipeline.summary(run)
    assert whole is not None and whole.kind == "rounds"
    assert list(whole.inputs) == ["evaluation", "evaluation_2"]
    assert {kind_of(name) for name in whole.inputs} == {"evaluation"}
    assert whole.inputs["evaluation_2"] == pipeline.rounds(run)[1].stages["evaluation"].uri
    other = pipeline.summary(config(tmp_path, rounds=2, evaluation={"bootstrap_samples": 199}))
    assert other is not None and other.key != whole.key


def test_the_data_sets_of_all_rounds_are_kept_by_the_run_that_made_them(tmp_path: Path) -> None:
    run = config(tmp_path, rounds=2)
    kept = garbage.planned(run, run.out)
    whole = pipeline.summary(run)
    assert whole is not None
    for stage in [*(s for each in pipeline.rounds(run) for s in each.stages.values()), whole]:
        assert f"{stage.kind}/{stage.key}" in kept


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("results/x/sft/" + "0" * 24, "0" * 24),
        ("s3://bucket/prefix/sft/" + "a1" * 12 + "/", "a1" * 12),
        ("sft/" + "0" * 24, "0" * 24),
        ("results/x/qvm/" + "0" * 24, None),
        ("results/mysft/" + "0" * 24, None),
        ("results/sft/latest", None),
        ("reference:countdown-policy", None),
    ],
)
def test_where_a_fine_tuned_policy_lies(path: str, key: str | None) -> None:
    assert fine_tuned(path) == key
