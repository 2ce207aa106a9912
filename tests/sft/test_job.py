from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.remarks import remarks
from qstar_core import jobs
from qstar_core.config import RunConfig
from qstar_core.domains import countdown
from qstar_core.errors import UserError
from qstar_core.loading import load_policy
from qstar_core.policies import SampleRequest
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.policies.identity import fingerprint, identity
from qstar_core.sft import job
from qstar_core.store import dataset, open_store
from qstar_core.values.data import held_out
from tests.models import tiny_policy
from tests.sft.examples import plays, problems, run_of


def nothing(*_: Any) -> None:
    """No progress."""


def published(spec: dict[str, Any], config: RunConfig, key: str) -> str:
    """The folder of a fine-tuned policy, put where a run would."""
    uri = spec["uri"].replace("/key", f"/{key}")
    receipt = jobs.JOBS["sft"]({**spec, "uri": uri}, config, nothing)
    head = {"kind": "sft", "key": key, "uri": uri, "inputs": {}, "figures": receipt["figures"]}
    dataset.publish(uri, head, [receipt])
    return uri


def test_the_stage_publishes_a_policy_and_what_it_was_trained_on(tmp_path: Path) -> None:
    spec, config = run_of(tmp_path, per_problem=2, holdout=0.2)
    key = "a" * 24
    uri = published(spec, config, key)
    manifest = dataset.read_complete(uri)
    assert manifest is not None
    figures = manifest["figures"]
    rows = pl.read_parquet(dataset.data_files(uri))
    assert len(rows) == manifest["rows"] == figures["solutions"] + figures["heldout_solutions"]
    assert figures["rollouts"] > figures["solutions"]  # one solution is there twice
    known = {problem.id: problem for problem in problems(12)}
    for problem_id, text in rows.select("problem_id", "text").iter_rows():
        lines = text.splitlines(keepends=True)
        assert countdown.grade(known[problem_id], lines).outcome == "correct"
    assert rows["problem_id"].value_counts()["count"].max() == 2
    assert not list(Path(uri).rglob(".writing"))
    assert not list(Path(uri).rglob("optimizer*"))
    assert figures["licence"] is None  # of tiny_policy, which says none
    assert list((tmp_path / "logs" / key).glob("events.*"))

    policy = config.policy.model_copy(update={"path": uri})
    assert identity(policy) == f"sft:{key}:float64"
    sampling = load_policy(policy)
    assert sampling.fingerprint == fingerprint(Path(uri), "float64")
    ask = SampleRequest(problems(12)[0].prompt, (1, 2), 2, 24, 1.0)
    assert len(sampling.sample([ask])[0]) == 2


def test_a_damaged_policy_is_refused(tmp_path: Path) -> None:
    uri = published(*run_of(tmp_path), "b" * 24)
    weights = Path(uri) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match="not what its sha256 says"):
        resolve_checkpoint(uri, "policy.path")
    with pytest.raises(UserError, match=r"policy.path: there is no fine-tuned policy") as caught:
        resolve_checkpoint(str(tmp_path / "sft" / ("c" * 24)), "policy.path")
    assert "qstar train-policy CONFIG" in caught.value.next_step


def test_solutions_that_differ_by_the_order_of_lines_count_once(tmp_path: Path) -> None:
    spec, config = run_of(tmp_path, distinct="form", per_problem=9)
    known = {problem.id: problem for problem in problems(12)}
    found = job.select(spec, config, known)
    for problem_id, part in found.group_by("problem_id"):
        problem = known[str(problem_id[0])]
        texts = [text.splitlines() for text in part["text"]]
        forms = {countdown.solution_form(problem, lines) for lines in texts}
        assert len(forms) == len(texts)


def test_what_value_models_are_measured_on_is_left_out(tmp_path: Path) -> None:
    spec, config = run_of(tmp_path)
    known = {problem.id: problem for problem in problems(12)}
    found = set(job.select(spec, config, known)["problem_id"])
    prm = config.prm.model_copy(update={"holdout": 0.5, "seed": 3})
    unasked = config.model_copy(update={"prm": prm})
    assert set(job.select(spec, unasked, known)["problem_id"]) == found
    method = config.evaluation.methods[0].model_copy(update={"reward": "prm"})
    evaluation = config.evaluation.model_copy(update={"methods": [method]})
    asked = unasked.model_copy(update={"evaluation": evaluation})
    less = set(job.select(spec, asked, known)["problem_id"])
    unseen = {p for p in known if held_out(p, config.qvm.holdout, 0) or held_out(p, 0.5, 3)}
    assert less == found - unseen and less != found
    assert not any(held_out(problem, config.qvm.holdout, config.seed) for problem in found)


def test_the_form_of_a_solution() -> None:
    problem = countdown.make_problem([1, 2, 3, 4], 10)
    one = ["4 + 3 = 7 | 7 2 1 > 10\n", "2 + 1 = 3 | 7 3 > 10\n", "7 + 3 = 10 | 10 > 10"]
    other = ["1 + 2 = 3 | 4 3 3 > 10\n", "3 + 4 = 7 | 7 3 > 10\n", "3 + 7 = 10 | 10 > 10"]
    third = ["4 - 3 = 1 | 2 1 1 > 10\n", "nonsense"]
    forms = [countdown.solution_form(problem, lines) for lines in (one, other, third)]
    assert forms[0] == forms[1] == "2 + 1; 4 + 3; 7 + 3"
    assert forms[2] == "4 - 3; nonsense"


def test_test_problems_are_not_trained_on(tmp_path: Path) -> None:
    spec, config = run_of(tmp_path, test=problems(12)[:1])
    with pytest.raises(
        UserError, match="sft: 1 of 1 test problems are training problems"
    ) as caught:
        job.sft(spec, config, nothing)
    assert "qstar train-policy CONFIG --set 'qvm.allow=[leakage]'" in caught.value.next_step
    qvm = config.qvm.model_copy(update={"allow": ["leakage"]})
    figures = job.sft(spec, config.model_copy(update={"qvm": qvm}), nothing)["figures"]
    assert figures["allowed"] == {"leakage": 1}
    assert "trained on, allowed by qvm.allow" in remarks({"figures": figures, "uri": "x"})[0]


def test_too_few_problems_and_another_base_are_refused(tmp_path: Path) -> None:
    spec, config = run_of(tmp_path, min_problems=50)
    with pytest.raises(UserError, match=r"sft\.min_problems asks for 50"):
        job.sft(spec, config, nothing)
    with pytest.raises(UserError, match="the base's checkpoint has changed"):
        job.sft({**spec, "models": {"base": "another"}}, config, nothing)
    assert not list((tmp_path / "sft").rglob("*.safetensors"))


def test_rollouts_are_graded_by_the_grader_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, config = run_of(tmp_path)
    known = {problem.id: problem for problem in problems(12)}
    monkeypatch.setattr(countdown, "GRADER_VERSION", "next")
    usual = countdown.grade
    monkeypatch.setattr(
        countdown,
        "grade",
        lambda problem, steps: (
            usual(problems(12)[0], ["no"])
            if problem.id == problems(12)[1].id
            else usual(problem, steps)
        ),
    )
    found = job.select(spec, config, known)
    assert problems(12)[0].id in set(found["problem_id"])
    assert problems(12)[1].id not in set(found["problem_id"])


def test_missing_trl_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "POLICY", ("trl-that-is-not-there>=1.16",))
    with pytest.raises(UserError, match=r"sft: .* cannot train, it lacks trl-that") as caught:
        job.sft(*run_of(tmp_path), nothing)
    assert "-m pip install 'trl-that-is-not-there>=1.16'" in caught.value.next_step


def test_every_third_problem_of_the_example_is_unsolved() -> None:
    for number, problem in enumerate(problems(12)):
        assert plays(problem, True, 1), number


@pytest.mark.slow
def test_a_policy_on_s3(bucket: str, tmp_path: Path) -> None:
    spec, config = run_of(tmp_path)
    uri = published({**spec, "uri": f"{bucket}/out/sft/key"}, config, "d" * 24)
    assert identity(config.policy.model_copy(update={"path": uri})).startswith("sft:ddd")
    folder = resolve_checkpoint(uri, "policy.path")
    assert (folder / "tokenizer.json").is_file()
    assert fingerprint(folder, "float32") != fingerprint(tiny_policy(), "float32")
    assert not [name for name in open_store(uri).names() if "optimizer" in name]
