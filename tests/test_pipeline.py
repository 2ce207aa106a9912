from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from qstar_core import environment, pipeline, sharding
from qstar_core.config import (
    ComparisonConfig,
    DomainConfig,
    EvaluationConfig,
    PolicyConfig,
    QvmConfig,
    RolloutsConfig,
    RunConfig,
    RuntimeConfig,
)
from qstar_core.errors import UserError
from qstar_core.store import dataset, open_store
from tests.models import tiny_policy


def config(tmp_path: Path, **more: object) -> RunConfig:
    policy = PolicyConfig(path=str(tiny_policy()))
    return RunConfig(out=str(tmp_path / "out"), policy=policy, **more)  # type: ignore[arg-type]


def test_the_plan_writes_nothing_and_names_everything(tmp_path: Path) -> None:
    run = config(tmp_path)
    stages = pipeline.plan(run)
    assert list(stages) == ["problems", "rollouts", "labels", "qvm", "evaluation", "report"]
    assert not (tmp_path / "out").exists()
    for stage in stages.values():
        assert stage.uri == f"{run.out}/{stage.name}/{stage.key}"
        assert pipeline.published(stage) is None
        estimate = pipeline.estimate(stage, run)
        assert estimate["shards"] >= 1
    assert pipeline.estimate(stages["rollouts"], run)["policy_tokens"] == 2000 * 16 * 33


def test_shards_cover_all_problems_once(tmp_path: Path) -> None:
    run = config(
        tmp_path,
        domain=DomainConfig(train_problems=1050),
        rollouts=RolloutsConfig(shard_problems=500),
    )
    stage = pipeline.plan(run)["rollouts"]
    with pytest.raises(UserError, match="problems is not there yet") as caught:
        pipeline.shards(stage, run)
    assert "qstar run" in caught.value.next_step
    parts = sharding.parts(stage, run)
    assert [(p["start"], p["stop"]) for p in parts] == [(0, 500), (500, 1000), (1000, 1050)]
    assert len({p["shard"] for p in parts}) == 3


@pytest.mark.parametrize(("samples", "problems"), [(4, 50_000), (16, 50_000), (64, 12_500)])
def test_a_shard_of_labels_has_a_bounded_number_of_rollouts(
    tmp_path: Path, samples: int, problems: int
) -> None:
    domain = DomainConfig(train_problems=60_000)
    run = config(tmp_path, domain=domain, rollouts=RolloutsConfig(samples=samples))
    parts = sharding.parts(pipeline.plan(run)["labels"], run)
    assert parts[0]["stop"] == problems
    assert parts[-1]["stop"] == 60_000


@pytest.mark.parametrize("out", ["/dev/null/x", "/dev/null"])
def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path: Path, out: str) -> None:
    run = config(tmp_path).model_copy(update={"out": out})
    with pytest.raises(UserError, match="cannot write"):
        pipeline.plan(run)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    run = RunConfig(out=str(tmp_path), policy=PolicyConfig(path="/nowhere"))
    with pytest.raises(UserError, match=r"policy\.path") as caught:
        pipeline.plan(run)
    assert "hub name" in caught.value.next_step


def test_a_malformed_problem_row_is_found_before_anything_starts(tmp_path: Path) -> None:
    rows = tmp_path / "p.jsonl"
    rows.write_text('{"numbers": [1, 2], "target": 3}\n{"numbers": [1, 2], "target": 3.5}\n')
    run = config(tmp_path, domain=DomainConfig(test_file=str(rows)))
    with pytest.raises(UserError, match="row 2"):
        pipeline.plan(run)


def test_below_float64_the_shape_of_the_batch_is_in_the_key(tmp_path: Path) -> None:
    def keys(dtype: str, batch_size: int) -> list[str]:
        policy = {"dtype": dtype, "batch_size": batch_size}
        config = RunConfig.model_validate({"out": str(tmp_path), "policy": policy})
        stages = pipeline.plan(config)
        return [stages["rollouts"].key, stages["evaluation"].key]

    assert keys("float64", 32) == keys("float64", 256)
    assert not set(keys("float32", 32)) & set(keys("float32", 256))


def test_the_key_holds_the_count_that_is_used(tmp_path: Path) -> None:
    def problems(**fields: object) -> pipeline.Stage:
        domain = DomainConfig(**fields)  # type: ignore[arg-type]
        return pipeline.plan(config(tmp_path, domain=domain))["problems"]

    assert problems() == problems(train_problems=2000, test_problems=500)
    file = tmp_path / "p.jsonl"
    row = '{{"numbers": [1, 2, 3], "target": {}}}\n'
    file.write_text("".join(row.format(target) for target in range(3)))
    whole = problems(test_file=str(file))
    assert whole.rows["test"]["count"] == 3
    assert whole == problems(test_file=str(file), test_problems=3)
    assert whole == problems(test_file=str(file), test_problems=500)
    assert whole.key != problems(test_file=str(file), test_problems=2).key


def test_a_test_files_content_decides_the_generated_training_problems(tmp_path: Path) -> None:
    def rollouts(target: int | None) -> str:
        file = tmp_path / "p.jsonl"
        file.write_text(f'{{"numbers": [1, 2, 3], "target": {target}}}\n')
        domain = DomainConfig(test_file=str(file) if target is not None else None)
        return pipeline.plan(config(tmp_path, domain=domain))["rollouts"].key

    assert len({rollouts(None), rollouts(5), rollouts(6)}) == 3
    assert rollouts(5) == rollouts(5)


def test_two_files_that_share_a_problem_are_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"numbers": [1, 2, 3], "target": 6}\n')
    domain = DomainConfig(test_file=str(file), train_file=str(file))
    with pytest.raises(UserError, match="same problem"):
        pipeline.plan(config(tmp_path, domain=domain))


def test_the_estimate_counts_the_rows_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"numbers": [1, 2, 3], "target": 6}\n')
    run = config(tmp_path, domain=DomainConfig(test_file=str(file)))
    stages = pipeline.plan(run)
    assert pipeline.estimate(stages["problems"], run)["units"] == 2001
    assert pipeline.estimate(stages["evaluation"], run)["units"] == 3


def publish_problems(
    run: RunConfig, environments: tuple[dict[str, Any] | None, ...] = (None, None)
) -> pipeline.Stage:
    """Puts some files where the problems of a run belong."""
    stage = pipeline.plan(run)["problems"]
    receipts = []
    for split, made_by in zip(("train", "test"), environments, strict=True):
        file = open_store(stage.uri).scratch() / f"part-{split}.parquet"
        dataset.write_table(file, pa.table({"x": [1, 2]}))
        receipts.append(dataset.finish_shard(stage.uri, split, [file], {}, made_by))
    pipeline.publish(stage, run, receipts)
    return stage


@pytest.mark.parametrize("deleted", [True, False])
def test_a_published_data_set_without_a_file_is_not_taken_for_complete(
    tmp_path: Path, deleted: bool
) -> None:
    run = config(tmp_path)
    stage = publish_problems(run)
    assert pipeline.published(stage) is not None
    part = Path(stage.uri) / "part-test.parquet"
    if deleted:
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-1])
    rollouts = pipeline.plan(run)["rollouts"]
    for look in (lambda: pipeline.published(stage), lambda: pipeline.shards(rollouts, run)):
        with pytest.raises(UserError, match=r"part-test\.parquet is missing or damaged") as caught:
            look()
        assert f"rm -r {stage.uri}" in caught.value.next_step


def test_the_next_look_clears_what_a_run_killed_after_the_manifest_left(tmp_path: Path) -> None:
    run = config(tmp_path)
    stage = publish_problems(run)
    published = sorted(Path(stage.uri).rglob("*"))
    (open_store(stage.uri).scratch() / "half.parquet").write_text("")
    (Path(stage.uri) / "part-old-size.parquet").write_text("")
    assert pipeline.published(stage) is not None
    assert sorted(Path(stage.uri).rglob("*")) == published


@pytest.mark.parametrize(
    ("receipts", "expected"),
    [
        (({"threads": 1}, {"threads": 1}), {"threads": 1}),
        (({"threads": 1}, {"threads": 2}), [{"threads": 1}, {"threads": 2}]),
        (({"threads": 1}, None), [{"threads": 1}, {}]),  # a receipt of an earlier version
        ((None, None), {}),
    ],
)
def test_a_manifest_has_the_environment_of_the_workers(
    tmp_path: Path, receipts: tuple[dict[str, Any] | None, ...], expected: object
) -> None:
    manifest = pipeline.published(publish_problems(config(tmp_path), receipts))
    assert manifest is not None
    assert manifest["environment"] == expected


def test_a_comparison_is_planned_apart_from_the_run(tmp_path: Path) -> None:
    run = config(tmp_path)
    usual, stages = pipeline.plan(run), pipeline.plan_comparison(run)
    shared = ["problems", "rollouts", "labels", "qvm"]
    assert list(stages) == [*shared, "comparison", "comparison_report"]
    assert [stages[name] for name in shared] == [usual[name] for name in shared]
    timed = pipeline.plan_comparison(config(tmp_path, comparison=ComparisonConfig(seconds=[0.5])))
    assert list(timed) == [*shared, "comparison", "timing", "comparison_report"]
    assert timed["comparison"] == stages["comparison"]
    assert timed["comparison_report"].key != stages["comparison_report"].key
    assert set(timed["comparison_report"].inputs) == {"comparison", "timing", "problems", "qvm"}
    for stage in timed.values():
        assert pipeline.estimate(stage, run)["shards"] >= 0


SPEED: list[dict[str, Any]] = [
    {"evaluation": {"active": 7}},
    {"evaluation": {"shard_problems": 7}},
    {"runtime": {"threads": 7}},
    {"runtime": {"runner": "ray"}},
    {"policy": {"device": "cpu"}},
    {"policy": {"batch_size": 7}},
    {"qvm": {"score_batch_size": 7}},
    {"qvm": {"cache_mb": 7}},
    {"prm": {"score_batch_size": 7}},
    {"prm": {"cache_mb": 7}},
]


def test_what_decides_speed_is_in_the_key_of_the_timing_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(**more: Any) -> dict[str, pipeline.Stage]:
        more["policy"] = {"path": str(tiny_policy()), **more.get("policy", {})}
        given = {"out": str(tmp_path), "comparison": {"seconds": [0.5]}, **more}
        return pipeline.plan_comparison(RunConfig.model_validate(given))

    plans = [plan(), *(plan(**more) for more in SPEED)]
    monkeypatch.setattr(environment, "machine", lambda: {"cpu": "another", "cores": 1})
    plans.append(plan())
    assert len({stages["timing"].key for stages in plans}) == len(SPEED) + 2
    assert len({stages["comparison"].key for stages in plans}) == 1
    other = [{**config(tmp_path).model_dump(), "runtime": {"workers": n}} for n in (1, 2)]
    assert len({pipeline.plan_comparison(RunConfig(**o))["comparison"].key for o in other}) == 1


def test_a_price_repeats_no_search_but_writes_the_report_anew(tmp_path: Path) -> None:
    plans = [
        pipeline.plan_comparison(
            config(tmp_path, comparison=ComparisonConfig(price_per_million_tokens=price))
        )
        for price in (None, 0.5)
    ]
    assert plans[0]["comparison"] == plans[1]["comparison"]
    assert plans[0]["comparison_report"].key != plans[1]["comparison_report"].key


def test_what_the_figures_go_by_repeats_no_search_of_a_comparison(tmp_path: Path) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"comparison": {"correction": "none"}},
        {"comparison": {"baseline": "greedy"}},
        {"evaluation": {"bootstrap_samples": 500}},
    ]
    given = {"out": str(tmp_path), "policy": {"path": str(tiny_policy())}}
    plans = [
        pipeline.plan_comparison(
            RunConfig.model_validate(
                {**given, **v, "comparison": {"seconds": [0.5], **v.get("comparison", {})}}
            )
        )
        for v in variants
    ]
    for name in ("comparison", "timing"):
        assert len({stages[name].key for stages in plans}) == 1
    assert len({stages["comparison_report"].key for stages in plans}) == len(variants)


def test_the_budget_of_the_evaluation_is_none_of_the_comparison(tmp_path: Path) -> None:
    keys = {
        pipeline.plan_comparison(
            config(tmp_path, evaluation=EvaluationConfig(max_policy_tokens=tokens))
        )["comparison"].key
        for tokens in (100, 200)
    }
    assert len(keys) == 1


def test_the_shards_of_a_sweep_are_method_by_budget_by_problems(tmp_path: Path) -> None:
    run = config(
        tmp_path,
        domain=DomainConfig(test_problems=300),
        comparison=ComparisonConfig(tokens=[50, 100], seconds=[0.5]),
        runtime=RuntimeConfig(workers=2),
    )
    stages = pipeline.plan_comparison(run)
    parts = sharding.parts(stages["comparison"], run)
    found = {(p["method"], p["budget"], p["start"], p["stop"]) for p in parts}
    ranges = [(0, 250), (250, 300)]
    assert found == {(m, b, *r) for m in range(3) for b in (50, 100) for r in ranges}
    assert len({p["shard"] for p in parts}) == len(parts) == 12
    assert [p["budget"] for p in sharding.parts(stages["timing"], run)] == [0.5] * 6
    estimate = pipeline.estimate(stages["comparison"], run)
    assert (estimate["units"], estimate["shards"]) == (300 * 3 * 2, 12)
    assert estimate["policy_tokens"] == 300 * (2 * (50 + 100) + 2 * 33)
    assert pipeline.estimate(stages["timing"], run)["policy_tokens"] == 0


@pytest.mark.parametrize("planned", [pipeline.plan, pipeline.plan_comparison])
def test_how_states_are_merged_is_in_the_key_where_they_are(tmp_path: Path, planned: Any) -> None:
    def rows(merge: str) -> dict[str, Any]:
        methods = [{"name": "A*", "algorithm": "astar", "merge": merge}]
        run = {"out": str(tmp_path), "evaluation": {"methods": methods, "baseline": "A*"}}
        stages = planned(RunConfig.model_validate(run))
        found: dict[str, Any] = (stages.get("comparison") or stages["evaluation"]).rows
        return found

    assert rows("state")["merging"] == 2
    assert "merging" not in rows("text")


def test_two_files_that_share_a_problem_are_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).write_text('{"numbers": [4, 9, 10, 13], "target": 24}\n')
    files = {f"{name}_file": str(tmp_path / name) for name in ("train", "test")}
    refused = config(tmp_path, domain=DomainConfig(**files))
    with pytest.raises(UserError, match="same problem") as caught:
        pipeline.plan(refused)
    assert "--set 'qvm.allow=[leakage]'" in caught.value.next_step
    allowed = config(tmp_path, domain=DomainConfig(**files), qvm=QvmConfig(allow=["leakage"]))
    near = config(tmp_path, domain=DomainConfig(**files), qvm=QvmConfig(allow=["near_duplicates"]))
    assert "qvm" in pipeline.plan(allowed)
    with pytest.raises(UserError, match="same problem"):
        pipeline.plan(near)


def test_what_may_be_trained_on_changes_no_key(tmp_path: Path) -> None:
    plans = [pipeline.plan(config(tmp_path, qvm=QvmConfig(allow=a))) for a in ([], ["leakage"])]
    assert plans[0] == plans[1]
