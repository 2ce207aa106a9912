from __future__ import annotations

from pathlib import Path

import pytest

from flows import commands, inspect
from qstar_core import pipeline, sharding
from qstar_core.config import DomainConfig, PolicyConfig, RolloutsConfig, RunConfig
from tests.models import tiny_policy


def test_the_variant_is_another_run_and_none_where_nothing_is_sampled() -> None:
    run = RunConfig(rollouts=RolloutsConfig(samples=32))
    [line] = inspect.variant(run, {"rollouts": {}}, "qstar run x.yaml --set rollouts.samples=32")
    assert "--set rollouts.samples=32 --set rollouts.samples=128 " in line
    assert inspect.variant(run, {"evaluation": {}}, "qstar run x.yaml") == []


def small(out: Path, **more: object) -> RunConfig:
    return RunConfig(
        out=str(out),
        policy=PolicyConfig(path=str(tiny_policy())),
        domain=DomainConfig(train_problems=250, test_problems=60),
        rollouts=RolloutsConfig(samples=2, shard_problems=100),
        **more,  # type: ignore[arg-type]
    )


def test_finished_shards_are_not_among_the_tokens_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small(tmp_path)
    rounds = pipeline.rounds(run)
    whole = {row["stage"]: row["policy_tokens"] for row in inspect.plan_rows(rounds)}
    assert whole["rollouts"] == 250 * 2 * 33
    assert whole["evaluation"] == 60 * (33 + 400 + 400)
    monkeypatch.setattr(pipeline, "shards", sharding.parts)
    made = ("p0000000-0000100", "m0-p0000000-0000060")  # 100 of the rollouts, greedy
    monkeypatch.setattr(pipeline, "finished", lambda spec: {} if spec["shard"] in made else None)
    rows = {row["stage"]: row for row in inspect.plan_rows(rounds)}
    assert rows["rollouts"]["policy_tokens"] == 150 * 2 * 33
    assert rows["evaluation"]["policy_tokens"] == 60 * (400 + 400)
    assert rows["rollouts"]["state"] == "1 of 3 shards there"
    monkeypatch.setattr(pipeline, "published", lambda stage: {})
    assert {row["policy_tokens"] for row in inspect.plan_rows(rounds)} == {0}


def test_a_training_ends_with_the_figures_of_its_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = inspect.manifest_of(inspect.folder_named("reference:countdown-qvm"))
    inspect.show_stage_end(commands.console(), "qvm", manifest)
    shown = capsys.readouterr().out
    assert "Held-out steps" in shown and "Next: qstar show" in shown


def test_a_plan_names_the_folders_of_what_is_there() -> None:
    whole = "results/a b/rollouts/" + "0123456789ab" * 2
    made = {"stage": "rollouts", "uri": whole, "state": inspect.THERE}
    rows = [made, {**made, "stage": "qvm", "uri": "x", "state": "will run"}]
    [_, head, line, following] = inspect.places(rows)
    assert head == "Already there:" and line.split(maxsplit=1) == ["rollouts", whole]
    assert following.startswith(f"Next: qstar show '{whole}' ")
    assert inspect.places(rows[1:]) == []
