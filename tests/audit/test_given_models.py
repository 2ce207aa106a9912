from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from qstar_core import pipeline
from qstar_core.audit.given_models import check_given, history
from qstar_core.config import RunConfig
from qstar_core.domains import countdown
from qstar_core.errors import UserError
from qstar_core.mdp import Problem
from qstar_core.stage import Stage
from qstar_core.store import dataset
from tests.audit.examples import write_problems
from tests.models import tiny_policy, tiny_qvm
from tests.sft.examples import problems
from tests.test_reward_model import OTHER, PROBLEMS, make, run_of

KEYS = ["a" * 24, "b" * 24]
ALLOWED = ["leakage", "near_duplicates"]
TRAINED = problems(12)
HELD_OUT = OTHER[0]


def model(place: Path, kind: str, key: str, base: str, **config: Any) -> str:
    """A published model in name, trained on the problems beside it."""
    folder = place / kind / key
    folder.mkdir(parents=True)
    fields = {"sft": {"base": None}, "qvm": {"init": None}, "prm": {"init": None}}
    tree = {"domain": {"name": "countdown"}, "policy": {"path": base}, **fields, **config}
    head = {"kind": kind, "key": key, "files": [], "inputs": {"problems": "key"}, "config": tree}
    (folder / "manifest.json").write_text(json.dumps(head))
    return str(folder)


def search(out: Path, test: Sequence[Problem], **rows: Any) -> Stage:
    """A stage that searches test problems."""
    return Stage(
        "evaluation", "k", "u", {"problems": write_problems(out, [], test, RunConfig())}, rows
    )


def run_on(**paths: Any) -> RunConfig:
    allow = paths.pop("allow", [])
    given = {"policy": str(tiny_policy()), **paths}
    tree: dict[str, Any] = {section: {"path": path} for section, path in given.items()}
    for section in ("qvm", "prm"):
        tree[section] = {**tree.get(section, {}), "allow": allow}
    return RunConfig.model_validate(tree)


@pytest.mark.parametrize(("kind", "section"), [("sft", "policy"), ("qvm", "qvm"), ("prm", "prm")])
def test_a_model_is_held_to_the_problems_beside_it(tmp_path: Path, kind: str, section: str) -> None:
    write_problems(tmp_path / "one", TRAINED[:4], [], RunConfig())
    path = model(tmp_path / "one", kind, KEYS[0], str(tiny_policy()))
    stage = search(tmp_path / "here", [TRAINED[0], HELD_OUT], prm="x")
    with pytest.raises(UserError, match=f"{section}.path: .* 1 of 2 test problems are") as caught:
        pipeline.check_held_out(stage, run_on(**{section: path}))
    assert path in caught.value.what and "nothing was searched" in caught.value.safe
    allow = "prm" if section == "prm" else "qvm"
    assert f"qstar run CONFIG --set '{allow}.allow=[leakage]'" in caught.value.next_step
    assert "name a model that was not trained on them" in caught.value.next_step
    assert pipeline.check_held_out(stage, run_on(**{section: path}, allow=ALLOWED)) == []
    clean = search(tmp_path / "clean", [HELD_OUT], prm="x")
    assert pipeline.check_held_out(clean, run_on(**{section: path})) == []


def test_a_model_that_no_method_asks_is_not_looked_at(tmp_path: Path) -> None:
    write_problems(tmp_path / "one", TRAINED[:4], [], RunConfig())
    path = model(tmp_path / "one", "prm", KEYS[0], str(tiny_policy()))
    stage = search(tmp_path / "here", [TRAINED[0]])
    assert pipeline.check_held_out(stage, run_on(prm=path)) == []


def test_a_model_is_held_to_what_it_started_from(tmp_path: Path) -> None:
    for out, train in (("one", TRAINED[:4]), ("two", TRAINED[4:8])):
        write_problems(tmp_path / out, train, [], RunConfig())
    first = model(tmp_path / "one", "sft", KEYS[0], str(tiny_policy()))
    second = model(tmp_path / "two", "qvm", KEYS[1], "x", qvm={"init": first})
    assert [path for path, _ in history(second)] == [second, first, str(tiny_policy())]
    stage = search(tmp_path / "here", [TRAINED[1]])
    with pytest.raises(UserError, match=f"qvm.path: {first}: 1 of 1 test problems"):
        pipeline.check_held_out(stage, run_on(qvm=second))


@pytest.mark.parametrize("section", ["qvm", "prm"])
def test_a_model_of_this_run_is_held_to_what_it_started_from(tmp_path: Path, section: str) -> None:
    write_problems(tmp_path / "one", TRAINED[:4], [], RunConfig())
    first = model(tmp_path / "one", "sft", KEYS[0], str(tiny_policy()))
    policy = {"path": str(tiny_policy())}
    own = RunConfig.model_validate({"policy": policy, section: {"init": first}})
    found = search(tmp_path / "here", [TRAINED[1]])
    trains = Stage("evaluation", "k", "u", {**found.inputs, section: "its model"}, {})
    with pytest.raises(UserError, match=f"{section}.init: {first}: 1 of 1 test problems"):
        check_given(trains, own)
    assert not check_given(found, own)  # nothing is trained from it here


def test_a_model_that_names_itself_ends_its_history(tmp_path: Path) -> None:
    path = str(tmp_path / "sft" / KEYS[0])
    assert model(tmp_path, "sft", KEYS[0], path) == path
    assert [each for each, _ in history(path)] == [path]
    assert list(history("sft/" + KEYS[1])) == [("sft/" + KEYS[1], None)]


def test_a_copy_is_held_to_the_run_that_it_was_made_in(tmp_path: Path) -> None:
    out = tmp_path / "one"
    write_problems(out, TRAINED[:4], [], RunConfig())
    path = model(out, "qvm", KEYS[0], str(tiny_policy()), out=str(out))
    copytree(path, tmp_path / "copy")
    stage = search(tmp_path / "here", [TRAINED[0]])
    with pytest.raises(UserError, match="1 of 1 test problems"):
        pipeline.check_held_out(stage, run_on(qvm=str(tmp_path / "copy")))


def test_only_the_training_part_of_an_imported_file_counts(tmp_path: Path) -> None:
    known = [Problem("gsm8k", f"Question {k}?", "1", s) for k, s in enumerate(("train", "test"))]
    write_problems(tmp_path / "one", known, [], RunConfig())
    rollouts = {"import_file": "x.jsonl"}
    path = model(tmp_path / "one", "qvm", KEYS[0], str(tiny_policy()), rollouts=rollouts)
    assert pipeline.check_held_out(search(tmp_path / "a", known[1:]), run_on(qvm=path)) == []
    with pytest.raises(UserError, match="1 of 1 test problems"):
        pipeline.check_held_out(search(tmp_path / "b", known[:1]), run_on(qvm=path))


def test_a_reward_model_of_annotations_is_held_to_them(tmp_path: Path) -> None:
    made = make(run_of(tmp_path, list(OTHER)), "problems", "annotations", "prm")
    stage = search(tmp_path / "here", [PROBLEMS[0], *OTHER], prm="x")
    with pytest.raises(UserError, match="1 of 3 test problems are training problems"):
        pipeline.check_held_out(stage, run_on(prm=made["uri"]))
    assert pipeline.check_held_out(stage, run_on(prm=made["uri"], allow=ALLOWED)) == []


@pytest.mark.parametrize("text", ["[1]", "{", '{"files": [{}]}', '{"files": ["/x"]}', "{}"])
def test_a_manifest_of_another_program_says_nothing(tmp_path: Path, text: str) -> None:
    folder = copytree(tiny_qvm(), tmp_path / "model")
    (folder / "manifest.json").write_text(text)
    [note] = pipeline.check_held_out(search(tmp_path, [HELD_OUT]), run_on(qvm=str(folder)))
    assert "does not say what it was trained on" in note


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    stage = search(tmp_path / "here", [TRAINED[0], HELD_OUT], prm="x")
    [note] = pipeline.check_held_out(stage, run_on(qvm=str(tiny_qvm())))
    assert note.startswith(f"qvm.path: {tiny_qvm()} does not say what it was trained on")
    lost = model(tmp_path, "sft", KEYS[0], str(tiny_policy()), domain={"name": "gsm8k"})
    [note] = pipeline.check_held_out(stage, run_on(policy=lost))
    assert note == (
        f"policy.path: {lost} was trained on problems that are not beside it, so whether test "
        "problems are among them is not known"
    )
    generated = model(tmp_path, "prm", KEYS[1], str(tiny_policy()))
    [note] = pipeline.check_held_out(stage, run_on(prm=generated))
    assert note.endswith("not beside it, and 1 of 2 test problems may be among them")
    held_out = search(tmp_path / "more", [HELD_OUT], prm="x")
    assert pipeline.check_held_out(held_out, run_on(prm=generated)) == []


def test_what_the_reference_models_say_of_a_users_puzzles(tmp_path: Path) -> None:
    puzzles = [countdown.make_problem(numbers, 24) for numbers in ([4, 9, 10, 13], [1, 5, 5, 5])]
    doubtful = sum(puzzle.split == "train" for puzzle in puzzles)
    models = {"policy": "reference:countdown24-policy", "qvm": "reference:countdown24-qvm"}
    notes = pipeline.check_held_out(search(tmp_path, puzzles), run_on(**models))
    assert doubtful and len(notes) == 3  # the Q-value model started from another policy
    for note, told in zip(
        notes, ("random plays", "generated problems", "random plays"), strict=True
    ):
        assert told in note and f"{doubtful} of 2 test problems may be among" in note
    assert "left out were those of results/game24/hardest.jsonl" in notes[1]
    assert pipeline.check_held_out(search(tmp_path / "2", [HELD_OUT]), run_on(**models)) == []


@pytest.mark.slow
def test_a_model_on_s3_is_held_to_the_problems_beside_it(bucket: str, tmp_path: Path) -> None:
    write_problems(f"{bucket}/out", TRAINED[:4], [], RunConfig())
    path = model(tmp_path, "qvm", KEYS[0], str(tiny_policy()))
    manifest = json.loads((Path(path) / "manifest.json").read_text())
    uri = f"{bucket}/out/qvm/{KEYS[0]}"
    dataset.publish(uri, {**manifest, "inputs": {"problems": "key"}}, [])
    with pytest.raises(UserError, match=f"qvm.path: {uri}: 1 of 1 test problems"):
        pipeline.check_held_out(search(tmp_path / "here", [TRAINED[0]]), run_on(qvm=uri))
