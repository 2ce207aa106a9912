from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.remarks import remarks
from qstar_core import jobs, pipeline
from qstar_core.config import (
    CountdownRanges,
    DomainConfig,
    PolicyConfig,
    PretrainConfig,
    QvmConfig,
    RunConfig,
)
from qstar_core.domains import countdown, countdown_problems
from qstar_core.errors import UserError
from qstar_core.evaluation import assemble
from qstar_core.loading import expect
from qstar_core.mdp import Problem
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.store import open_store
from tests.audit.examples import write_run
from tests.evaluation.examples import report_data
from tests.models import tiny_policy


def test_a_report_of_shards_from_several_environments_shows_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several: Any = [{"python": "3.11.7"}, {"python": "3.12.1"}]
    data = replace(report_data(), environment=several)
    monkeypatch.setattr(assemble, "assemble", lambda inputs, key, config: data)
    spec = {"uri": str(tmp_path / "set"), "shard": "html", "inputs": {}, "key": "k"}
    jobs.report(spec, RunConfig(), lambda done, total, unit, note: None)
    page = (tmp_path / "set" / "report.html").read_text(encoding="utf-8")
    for part in ("1.python", "3.11.7", "2.python", "3.12.1"):
        assert part in page


def test_a_checkpoint_that_changed_after_the_plan_is_refused() -> None:
    expect({"models": {"policy": "abc"}}, "policy", "abc")
    expect({}, "policy", "abc")
    with pytest.raises(UserError, match="policy's checkpoint has changed") as caught:
        expect({"models": {"policy": "abc"}}, "policy", "def")
    assert "run the same command again" in caught.value.next_step


def play(problem: Problem, place: int) -> list[str]:
    """A play of the legal moves at a place."""
    numbers, target = countdown.start(problem)
    lines = []
    while len(numbers) > 1:
        moves = list(countdown.moves(numbers))
        operator, left, right, rest = moves[place % len(moves)]
        end = "\n" if len(rest) > 1 else ""
        lines.append(countdown.line(operator, left, right, rest, target) + end)
        numbers = rest
    return lines


def trained(tmp_path: Path, allow: list[Any], leaked: bool, contradicting: bool) -> dict[str, Any]:
    """The figures of a Q-value model of a few labels."""
    problems = countdown_problems.generate("train", 8, CountdownRanges(numbers=(3,)), seed=0)
    plays = {problem: [play(problem, k) for k in (0, 0, 1)] for problem in problems}
    other = (pl.col("rollout_id").rank("dense") % 2).cast(pl.Float64)
    test = problems[:1] if leaked else []
    labels = write_run(tmp_path, plays, test=test, change=other if contradicting else None)
    inputs = {"labels": labels, "problems": labels.replace("/labels/", "/problems/")}
    spec = {"uri": str(tmp_path / "qvm" / "key"), "shard": "model", "inputs": inputs}
    settings = QvmConfig(allow=allow, epochs=0.1, holdout=0.4, bf16=False)
    config = RunConfig(policy=PolicyConfig(path=str(tiny_policy())), qvm=settings)
    figures: dict[str, Any] = jobs.qvm(spec, config, lambda *_: None)["figures"]
    return figures


def test_a_model_is_not_trained_on_test_problems(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 of 1 test problems are training problems too"):
        trained(tmp_path, [], leaked=True, contradicting=False)
    assert not list((tmp_path / "qvm").rglob("*.safetensors"))


def test_what_is_allowed_by_name_is_trained_on_and_on_record(tmp_path: Path) -> None:
    figures = trained(tmp_path, ["leakage"], leaked=True, contradicting=True)
    assert figures["allowed"] == {"leakage": 1}
    assert figures["conflicts"] > 0
    said = remarks({"figures": figures, "uri": "x"})
    assert "labels that contradict each other" in said[0]
    assert said[1] == "1 test problems are trained on, allowed by qvm.allow: leakage"


def test_clean_labels_leave_no_remark(tmp_path: Path) -> None:
    figures = trained(tmp_path, [], leaked=False, contradicting=False)
    assert "allowed" not in figures and "conflicts" not in figures
    assert remarks({"figures": figures, "uri": "x"}) == []


WORDS = "Anna buys four red apples and seven green pears on a sunny market day, and eats one. "
OTHER = "Ben walks nine miles to a lake, swims for half an hour there and takes a bus back home. "


def with_test_problem(tmp_path: Path, question: str, **qvm: Any) -> RunConfig:
    """A run of GSM8K's kind on one training problem and one test problem, made so far."""
    files = {}
    for split, text in (("train", WORDS + "How many are left now?"), ("test", question)):
        file = tmp_path / f"{split}.jsonl"
        file.write_text(json.dumps({"question": text, "answer": "#### 5"}))
        files[f"{split}_file"] = str(file)
    given = {
        "out": str(tmp_path / "out"),
        "domain": {"name": "gsm8k", **files},
        "policy": {"path": str(tiny_policy())},
        "qvm": qvm,
        "comparison": {"seconds": [0.5]},
    }
    run = RunConfig.model_validate(given)
    stage = pipeline.plan(run)["problems"]
    receipts = [jobs.problems(spec, run, lambda *_: None) for spec in pipeline.shards(stage, run)]
    pipeline.publish(stage, run, receipts)
    return run


def test_other_test_problems_do_not_get_past_the_check_of_training(tmp_path: Path) -> None:
    good = with_test_problem(tmp_path, OTHER + "How far?")
    stages = pipeline.plan(good)
    for stage in stages.values():
        pipeline.check_held_out(stage, good)

    near = with_test_problem(tmp_path, WORDS + "How many are left then?")
    later = pipeline.plan(near) | pipeline.plan_comparison(near)
    assert later["qvm"].key == stages["qvm"].key  # it is not trained, and not checked, again
    for name in ("evaluation", "comparison", "timing"):
        assert later[name].key not in [stage.key for stage in stages.values()]
        with pytest.raises(UserError, match="1 of 1 test problems have a near-dup") as caught:
            pipeline.check_held_out(later[name], near)
        assert "nothing was searched" in caught.value.safe
        assert "qstar run CONFIG --set 'qvm.allow=[near_duplicates]'" in caught.value.next_step

    allowed = near.model_copy(update={"qvm": QvmConfig(allow=["near_duplicates"])})
    pipeline.check_held_out(later["evaluation"], allowed)
    given = near.model_copy(update={"qvm": QvmConfig(path="reference:countdown-qvm")})
    pipeline.check_held_out(pipeline.plan(given)["evaluation"], given)  # trained elsewhere


@pytest.mark.slow
def test_a_policy_is_pretrained_onto_s3(bucket: str) -> None:
    tiny = PretrainConfig(
        steps=2,
        batch_size=8,
        hidden_size=16,
        intermediate_size=32,
        layers=1,
        heads=2,
        rarity_plays=1000,
        compile=False,
    )
    config = RunConfig(pretrain=tiny)
    uri = f"{bucket}/policy"
    receipt = jobs.pretrain({"uri": uri}, config, lambda *_: None)
    store = open_store(uri)
    assert json.loads(store.read("manifest.json"))["files"] == receipt["files"]
    assert {e["name"]: e["bytes"] for e in receipt["files"]}.items() <= store.sizes().items()
    folder = resolve_checkpoint(uri, "policy.path")
    assert (folder / "config.json").is_file()


@pytest.mark.parametrize(("targets", "known"), [((24, 100), {"unsolvable": 1}), ((24,), {})])
def test_a_users_puzzles_without_a_solution_are_counted(
    tmp_path: Path, targets: tuple[int, ...], known: dict[str, int]
) -> None:
    file = tmp_path / "puzzles.jsonl"
    rows = [{"numbers": [4, 9, 10, 13], "target": target} for target in (*targets, 13)]
    rows[-1]["numbers"] = [1, 13]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ranges = CountdownRanges(numbers=(2,))
    domain = DomainConfig(test_file=str(file), train_problems=2, ranges=ranges)
    config = RunConfig(out=str(tmp_path / "out"), domain=domain)
    stage = pipeline.plan(config)["problems"]
    parts = pipeline.shards(stage, config)
    receipts = [jobs.problems(spec, config, lambda *_: None) for spec in parts]
    figures = pipeline.publish(stage, config, receipts)["figures"]
    assert figures == {"train": 2, "test": len(rows), **known}
