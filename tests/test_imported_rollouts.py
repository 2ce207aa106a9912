"""Imported rollouts as stages: keys, shards, labels, without Prefect; and text from real GSM8K."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from qstar_core import pipeline, worker
from qstar_core.config import RunConfig
from qstar_core.domains import DOMAINS, gsm8k_problems
from qstar_core.domains import gsm8k as gsm8k_domain
from qstar_core.errors import UserError
from qstar_core.jobs import JOBS, read_problems
from qstar_core.store import open_store
from tests.data import gsm8k
from tests.rollouts.import_rows import row, write
from tests.stages import make, rows

NOWHERE = {"path": "/no/such/policy"}  # the policy of an import is not asked for


def config(tmp_path: Path, file: Path | str, **more: Any) -> RunConfig:
    given: dict[str, Any] = {"out": str(tmp_path / "out"), "domain": {"name": "gsm8k"}, **more}
    rollouts = {"import_file": str(file), **given.pop("rollouts", {})}
    return RunConfig.model_validate({"policy": NOWHERE, "rollouts": rollouts, **given})


def test_the_policy_is_not_needed_up_to_the_labels(tmp_path: Path) -> None:
    run = config(tmp_path, write(tmp_path / "f.jsonl", [row(1)]))
    assert list(pipeline.plan(run, until="labels")) == ["problems", "rollouts", "labels"]
    for whole in (pipeline.plan, pipeline.plan_comparison):
        with pytest.raises(UserError, match=r"policy\.path"):
            whole(run)
    known = config(tmp_path, tmp_path / "f.jsonl", policy={})
    assert list(pipeline.plan(known, until="qvm")) == ["problems", "rollouts", "labels", "qvm"]
    with pytest.raises(
        UserError, match=r"domain\.test_file: gsm8k generates no problems"
    ) as caught:
        pipeline.plan(known)
    assert "qstar train-qvm CONFIG" in caught.value.next_step
    test = tmp_path / "test.jsonl"
    test.write_text('{"question": "?", "answer": "#### 5"}')
    domain = {"name": "gsm8k", "test_file": str(test)}
    assert "report" in pipeline.plan(
        config(tmp_path, tmp_path / "f.jsonl", policy={}, domain=domain)
    )


def test_sampling_from_gsm8k_needs_a_file(tmp_path: Path) -> None:
    given = {"out": str(tmp_path), "domain": {"name": "gsm8k"}}
    with pytest.raises(UserError, match=r"domain\.train_file: gsm8k generates no problems"):
        pipeline.plan(RunConfig.model_validate(given))
    file = tmp_path / "train.jsonl"
    file.write_text('{"question": "?", "answer": "#### 5"}\n')
    run = RunConfig.model_validate({**given, "domain": {"name": "gsm8k", "train_file": str(file)}})
    stages = pipeline.plan(run, until="rollouts")
    estimate = pipeline.estimate(stages["rollouts"], run)
    assert estimate["policy_tokens"] == 16 * 96
    specs = pipeline.shards(stages["problems"], run)
    receipts = [JOBS["problems"](spec, run, lambda *_: None) for spec in specs]
    pipeline.publish(stages["problems"], run, receipts)
    [problem] = read_problems(stages["problems"].uri, "train")
    assert problem == gsm8k_problems.from_question("?", 5, "train")
    assert read_problems(stages["problems"].uri, "test") == []


@pytest.mark.parametrize("field", ["train_file", "train_problems"])
def test_an_import_brings_its_own_training_problems(field: str, tmp_path: Path) -> None:
    value = {"train_file": "x.jsonl", "train_problems": 5}[field]
    with pytest.raises(ValidationError, match="brings its own training problems"):
        config(tmp_path, "f.jsonl", domain={"name": "gsm8k", field: value})


def test_the_content_of_the_file_decides_the_keys_and_sampling_does_not(tmp_path: Path) -> None:
    def keys(lines: list[str], name: str = "f.jsonl", **more: Any) -> list[str]:
        file = write(tmp_path / name, lines)  # type: ignore[arg-type]
        stages = pipeline.plan(config(tmp_path, file, **more), until="labels")
        return [stage.key for stage in stages.values()]

    base = keys([row(1)])
    assert keys([row(1)], "moved.jsonl") == base
    assert keys([row(1)], rollouts={"samples": 3, "temperature": 0.5}, seed=9) == base
    assert not set(keys([row(2)])) & set(base)
    test = tmp_path / "test.jsonl"
    test.write_text('{"question": "?", "answer": "#### 5"}')
    held = keys([row(1)], domain={"name": "gsm8k", "test_file": str(test)})
    assert not set(held) & set(base)


SAMPLED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "seed": ({"seed": 9}, {"mcts", "stronger"}),
    "length": ({"rollouts": {"max_new_tokens": 7}}, {"mcts", "stronger"}),
    "temperature": ({"rollouts": {"temperature": 0.5}}, {"mcts"}),
    "samples": ({"rollouts": {"samples": 3}}, set()),
}


@pytest.mark.parametrize("changed", SAMPLED)
def test_how_a_pool_of_imported_rollouts_is_sampled_decides_its_key(
    tmp_path: Path, changed: str
) -> None:
    file = write(tmp_path / "f.jsonl", [row(1)])
    kinds = ["mcts", "stronger"]

    def keys(**more: Any) -> dict[str, str]:
        run = config(tmp_path, file, policy={}, pools=[{"kind": k} for k in kinds], **more)
        stages = pipeline.plan(run, until="labels")
        return {kind: stages[f"pool_{kind}"].key for kind in kinds}

    fields, differ = SAMPLED[changed]
    base, other = keys(), keys(**fields)
    assert {kind for kind in kinds if base[kind] != other[kind]} == differ


@pytest.mark.parametrize("kind", ["states", "binary_search"])
def test_imported_rollouts_are_not_continued_as_if_they_were_ours(
    tmp_path: Path, kind: str
) -> None:
    file = write(tmp_path / "f.jsonl", [row(1)])
    run = config(tmp_path, file, policy={}, pools=[{"kind": kind}])
    with pytest.raises(UserError, match=f"pool_{kind}: .* of another one") as caught:
        pipeline.plan(run, until="labels")
    assert "kind: stronger" in caught.value.next_step


def test_rows_do_not_depend_on_the_shards_or_the_compression(tmp_path: Path) -> None:
    lines = [row(n % 7, [f"#### {n}", f"{n}\n#### {n % 7}"]) for n in range(20)]
    file = write(tmp_path / "f.jsonl", [*lines[:5], "broken", *lines[5:]])
    packed = tmp_path / "f.jsonl.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    found = []
    for number, (size, given) in enumerate([(2, file), (500, file), (3, packed)]):
        place = {"out": str(tmp_path / f"out{number}"), "rollouts": {"shard_problems": size}}
        run = config(tmp_path, given, **place)
        made = make(run, "problems", "rollouts", "labels")
        assert len(made["rollouts"]["shards"]) == -(-7 // size)
        frames = [rows(run, name) for name in ("problems", "rollouts", "labels")]
        if given is packed:  # another file by its sha256, which the policy's name has
            frames = [f.drop("rollout_id", "policy", strict=False) for f in frames]
            found[0] = [f.drop("rollout_id", "policy", strict=False) for f in found[0]]
        found.append(frames)
    assert [a.equals(b) for a, b in zip(found[0], found[2], strict=True)] == [True] * 3
    again = [f.drop("rollout_id", "policy", strict=False) for f in found[1]]
    assert [a.equals(b) for a, b in zip(found[0], again, strict=True)] == [True] * 3
    rollouts = found[1][1]
    assert rollouts["rollout_id"].n_unique() == len(rollouts) == 40
    per = rollouts.group_by("problem_id", maintain_order=True).agg("sample_index")
    assert all(list(indices) == list(range(len(indices))) for indices in per["sample_index"])


def test_a_problem_may_stand_in_several_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "f.jsonl", [row(1, ["#### 1"]), row(2, ["no"]), row(1, ["#### 3"])])
    run = config(tmp_path, file)
    make(run, "problems", "rollouts")
    found = rows(run, "rollouts").select("sample_index", "outcome").rows()
    assert found == [(0, "correct"), (1, "wrong"), (0, "no_answer")]


def test_a_file_that_changed_after_the_plan_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "f.jsonl", [row(1)])
    run = config(tmp_path, file)
    [spec, _] = pipeline.shards(pipeline.plan(run, until="labels")["problems"], run)
    write(file, [row(1), row(2)])
    with pytest.raises(UserError, match="has changed since the run was planned"):
        JOBS["problems"](spec, run, lambda *_: None)


def test_a_published_import_is_estimated_by_what_it_has(tmp_path: Path) -> None:
    run = config(tmp_path, write(tmp_path / "f.jsonl", [row(1), "x", row(2)]))
    stages = pipeline.plan(run, until="labels")
    unread = [pipeline.estimate(stages[name], run) for name in ("problems", "rollouts", "labels")]
    assert [(e["units"], e["unit"]) for e in unread] == [
        (1, "file"),
        (0, "uncounted rollouts"),
        (0, "uncounted rollouts"),
    ]
    manifest = make(run, "problems")["problems"]
    estimate = pipeline.estimate(stages["rollouts"], run)
    assert (estimate["units"], estimate["policy_tokens"], estimate["shards"]) == (4, 0, 1)
    figures = manifest["figures"]
    assert (figures["train"], figures["test"]) == (2, 0)
    assert figures["import"] == {"lines": 3, "malformed": 1, "problems": 2, "samples": 4}
    assert [m["line"] for m in figures["malformed"]] == [2]


def test_a_pool_of_an_import_is_estimated_by_the_rollouts_that_it_has(tmp_path: Path) -> None:
    file = write(tmp_path / "f.jsonl", [row(1), row(2, ["#### 2"])])
    pool = {"kind": "stronger", "max_states": 70}
    run = config(tmp_path, file, policy={}, pools=[pool], rollouts={"max_new_tokens": 10})
    stage = pipeline.plan(run, until="labels")["pool_stronger"]
    assert pipeline.estimate(stage, run)["units"] == 0
    make(run, "problems")
    states = 2 * 2 * (gsm8k_domain.MAX_STEPS - 1)  # three rollouts count as two of each problem
    estimate = pipeline.estimate(stage, run)
    assert (estimate["units"], estimate["policy_tokens"]) == (states, 10 * states)


def test_an_import_on_s3(bucket: str, tmp_path: Path) -> None:
    file = write(tmp_path / "f.jsonl", [row(1), "x", row(2)])
    open_store(bucket).replace("in/f.jsonl", file.read_bytes())
    local = config(tmp_path, file)
    remote = config(tmp_path, f"{bucket}/in/f.jsonl", out=f"{bucket}/out")
    for run in (local, remote):
        make(run, "problems", "rollouts", "labels")
    for name in ("problems", "rollouts", "labels"):
        assert rows(local, name).equals(rows(remote, name))


def test_held_out_problems_are_labelled_but_never_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [row(1), row(2, split="test"), row(3)]
    run = config(tmp_path, write(tmp_path / "f.jsonl", [*lines]), policy={})
    make(run, "problems", "rollouts", "labels")
    assert rows(run, "labels")["split"].value_counts(sort=True)["count"].to_list() == [6, 3]
    trained: list[pl.DataFrame] = []

    def train(frame: pl.DataFrame, *_: Any) -> tuple[dict[str, Any], pl.DataFrame]:
        trained.append(frame)
        return {}, pl.DataFrame({"q": [0.5]})

    monkeypatch.setattr("qstar_core.values.train.train_qvm", train)
    stage = pipeline.plan(run, until="qvm")["qvm"]
    [spec] = pipeline.shards(stage, run)
    JOBS["qvm"](spec, run, lambda *_: None)
    [frame] = trained
    held = {p.id for p in read_problems(stage.inputs["problems"], "train") if p.split == "test"}
    assert len(held) == 1 and len(frame) == 6
    assert not held & set(frame["problem_id"])


def test_an_imported_test_problem_that_is_held_out_as_well_is_no_leakage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "qstar_core.values.train.train_qvm", lambda *_: ({}, pl.DataFrame({"q": [0.5]}))
    )
    monkeypatch.setattr("qstar_core.audit.model_card.model_card", lambda *_: "of nothing\n")
    test = tmp_path / "test.jsonl"
    test.write_text('{"question": "What is 2?", "answer": "#### 2"}')
    lines = [row(1), row(2, split="test")]
    domain = {"name": "gsm8k", "test_file": str(test)}
    run = config(tmp_path, write(tmp_path / "f.jsonl", [*lines]), policy={}, domain=domain)
    made = make(run, "problems", "rollouts", "labels", "qvm")
    assert "allowed" not in made["qvm"]["figures"]


def test_a_worker_that_imports_needs_no_torch_and_knows_its_file(tmp_path: Path) -> None:
    run = config(tmp_path, write(tmp_path / "f.jsonl", [row(1)]))
    spec = {"stage": "rollouts", "config": run.model_dump(mode="json")}
    assert not worker._with_torch(spec, run)
    assert worker._with_torch(spec, RunConfig())
    assert str(tmp_path / "f.jsonl") in worker._inputs(spec)


def test_countdown_rollouts_are_imported_too(tmp_path: Path) -> None:
    reference = {"numbers": [1, 2, 3], "target": 6}
    play = "3 + 2 = 5 | 5 1 > 6\n5 + 1 = 6 | 6 > 6"
    line = {"question": "3 2 1 > 6", "reference": reference, "samples": [play, "6"]}
    run = config(tmp_path, write(tmp_path / "f", [json.dumps(line)]), domain={"test_problems": 3})
    make(run, "problems", "rollouts", "labels")
    assert rows(run, "rollouts")["outcome"].to_list() == ["correct", "no_answer"]
    assert rows(run, "labels")["y"].to_list() == [1.0, 1.0, 0.0]


def wrong(answer: str) -> str:
    """A solution whose last equation and answer are off by one."""
    body, _, number = answer.rpartition("#### ")
    return f"{body}#### {int(number.replace(',', '')) + 1}"


def test_real_solutions_are_graded_and_labelled(tmp_path: Path) -> None:
    given = gsm8k("train")[:120]
    lines: list[str | bytes] = []
    for number, each in enumerate(given):
        answer = each["answer"]
        unfinished = answer.rpartition("\n#### ")[0]
        samples = [answer, wrong(answer), unfinished]
        fields = {"question": each["question"], "reference": answer, "samples": samples}
        lines.append(json.dumps(fields))
        lines += (
            [b'{"question": "\xff"}', json.dumps({**fields, "samples": []})]
            if number % 40 == 0
            else []
        )
    run = config(tmp_path, write(tmp_path / "f.jsonl", lines), rollouts={"shard_problems": 50})
    made = make(run, "problems", "rollouts", "labels")
    assert made["problems"]["figures"]["import"] == {
        "lines": 126,
        "malformed": 6,
        "problems": 120,
        "samples": 360,
    }
    assert made["rollouts"]["figures"]["outcomes"] == {
        "correct": 120,
        "no_answer": 120,
        "wrong": 120,
    }
    rollouts = rows(run, "rollouts")
    assert rollouts["outcome"].to_list() == ["correct", "wrong", "no_answer"] * 120
    by_id = {
        p.id: p for p in read_problems(pipeline.plan(run, until="labels")["problems"].uri, "train")
    }
    lenient = [
        DOMAINS["gsm8k"].lenient(by_id[problem_id], [step["text"] for step in steps])
        for problem_id, steps, outcome in rollouts.select("problem_id", "steps", "outcome").rows()
        if outcome == "no_answer"
    ]
    assert sum(lenient) > 60  # format errors: the right number, not marked
    labels = rows(run, "labels")
    assert made["labels"]["rows"] == len(labels) == int(rollouts["n_steps"].sum())
    first = labels.filter(pl.col("step_index") == 1)
    assert first["y"].to_list() == [1.0] * 360  # all three begin alike, and one of them is right
    last = labels.filter(pl.col("step_index") == pl.col("n_steps"), pl.col("outcome") == "wrong")
    assert last["y"].to_list() == [0.0] * 120
