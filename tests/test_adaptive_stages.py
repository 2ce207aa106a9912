from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.config_adaptive import AdaptiveConfig
from qstar_core.config_section import RUNTIME_ONLY
from qstar_core.errors import UserError
from qstar_core.stage import Stage
from tests.models import copied, tiny_policy

METHODS = [{"name": "it", "algorithm": "adaptive"}]
SEARCHES = {
    "factors": [{"name": "algorithm", "values": ["greedy", "astar"]}],
    "method": {"name": "search", "algorithm": "greedy"},
}
OTHER: dict[str, Any] = {
    "pooling": "last",
    "factors": [{"name": "temperature", "values": [0.5, 1.0]}],
    "template": None,  # of factors; the id of a space has it
    "method": {"name": "two", "algorithm": "self_consistency", "n": 2},
    "max_policy_tokens": 50,
    "logged": 3,
    "source": None,  # of a table; below
    "reward": None,  # those of models; below
    "reward_model": None,
    "judge": None,
    "judge_tokens": None,
    "embedding": "OTHER",
    "linucb": 0.5,
    "seed": 5,
    "baseline": "none",
    "annealing": {"alpha": 0.5},
    "hidden": [8],
    "per_question": 2,
    "batch_size": 60,
}


def config(tmp_path: Path, adaptive: dict[str, Any] | None, **more: Any) -> RunConfig:
    tree = {
        "out": str(tmp_path / "out"),
        "policy": {"path": str(tiny_policy())},
        "evaluation": {"methods": METHODS, "baseline": "it"},
        "adaptive": adaptive,
        **more,
    }
    return RunConfig.model_validate(tree)


def plan(tmp_path: Path, adaptive: dict[str, Any], **more: Any) -> dict[str, Stage]:
    return pipeline.plan(config(tmp_path, adaptive, **more))


def test_a_run_that_asks_no_q_trains_no_value_model(tmp_path: Path) -> None:
    stages = plan(tmp_path, {})
    assert list(stages) == ["problems", "episodes", "adaptive", "evaluation", "report"]
    assert list(stages["adaptive"].inputs) == ["problems", "episodes"]
    assert list(stages["evaluation"].inputs) == ["problems", "episodes", "adaptive"]
    assert list(plan(tmp_path, {"logged": 0})["adaptive"].inputs) == ["problems"]


def test_searches_that_rank_by_q_come_after_the_value_model(tmp_path: Path) -> None:
    stages = plan(tmp_path, SEARCHES)
    before = ["problems", "rollouts", "labels", "qvm"]
    assert list(stages) == [*before, "episodes", "adaptive", "evaluation", "report"]
    assert list(stages["episodes"].inputs) == ["problems", "qvm"]
    assert stages["adaptive"].rows["qvm"] == stages["qvm"].key
    until = pipeline.plan(config(tmp_path, SEARCHES), until="adaptive")
    assert {name: stages[name] for name in until} == until


def test_the_stages_are_those_of_the_command_and_of_a_comparison(tmp_path: Path) -> None:
    given = config(tmp_path, {})
    until = pipeline.plan(given, until="adaptive")
    assert list(until) == ["problems", "episodes", "adaptive"]
    assert pipeline.made_first(until, "adaptive") == ["problems", "episodes"]
    compared = pipeline.plan_comparison(given)
    assert compared["adaptive"] == until["adaptive"]
    assert list(compared["comparison"].inputs) == ["problems", "episodes", "adaptive"]


def test_without_its_section_there_is_nothing_to_train(tmp_path: Path) -> None:
    methods = {"methods": [{"name": "greedy", "algorithm": "greedy"}], "baseline": "greedy"}
    given = config(tmp_path, None, evaluation=methods)
    assert "adaptive" not in pipeline.plan(given)
    with pytest.raises(UserError, match="no section adaptive") as caught:
        pipeline.plan(given, until="adaptive")
    assert "adaptive: {}" in caught.value.next_step


def test_a_policy_without_weights_embeds_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text('{"prompt": "1", "texts": ["2"]}\n')
    policy = {"backend": "scripted", "path": str(script)}
    with pytest.raises(UserError, match=r"adaptive\.embedding"):
        plan(tmp_path, {}, policy=policy)
    assert plan(tmp_path, {"embedding": str(tiny_policy())}, policy=policy)


@pytest.mark.parametrize("name", list(AdaptiveConfig.model_fields))
def test_every_field_that_can_change_a_row_changes_the_key(tmp_path: Path, name: str) -> None:
    base = AdaptiveConfig()
    value = getattr(base, name)
    runtime = AdaptiveConfig.model_fields[name].json_schema_extra == RUNTIME_ONLY
    if name in OTHER and OTHER[name] is None:
        return
    new = OTHER.get(name, [] if isinstance(value, list) else None)
    if name not in OTHER and isinstance(value, bool | int | float):
        new = not value if isinstance(value, bool) else value + 1
    if new == "OTHER":
        new = str(copied(tiny_policy(), tmp_path / "other", initializer_range=0.5))
    before, after = plan(tmp_path, {})["adaptive"], plan(tmp_path, {name: new})["adaptive"]
    assert (before.key == after.key) == runtime, name
    if name in ("episodes", "learning_rate", "linucb"):  # nothing is logged anew
        assert before.inputs == after.inputs


def test_a_source_and_a_judge_change_the_key(tmp_path: Path) -> None:
    table = {"factors": OTHER["factors"], "logged": "all"}
    looked_up = plan(tmp_path, {**table, "source": "logged"})
    tried = plan(tmp_path, table)
    assert looked_up["episodes"] == tried["episodes"]
    assert looked_up["adaptive"].key != tried["adaptive"].key
    judge = {"path": str(tiny_policy())}
    keys = {
        plan(tmp_path, {"reward": "judge", "judge": judge, "judge_tokens": tokens})["adaptive"].key
        for tokens in (10, 20)
    }
    assert len(keys | {plan(tmp_path, {})["adaptive"].key}) == 3


def test_shards_and_estimate(tmp_path: Path) -> None:
    given = config(tmp_path, {"ablations": True, "linucb": 1.0, "episodes": 100, "logged": 2})
    stages = pipeline.plan(given)
    found = pipeline.estimate(stages["episodes"], given)
    assert (found["shards"], found["units"], found["unit"]) == (4, 4000, "episodes")
    found = pipeline.estimate(stages["adaptive"], given)
    assert (found["shards"], found["units"]) == (5, 500)
    assert found["policy_tokens"] == 500 * 33  # a whole play of four numbers
