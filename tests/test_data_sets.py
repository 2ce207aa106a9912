"""Problems, rollouts and labels of the published domains, made as a flow makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.config_file import load_config
from qstar_core.domains import DOMAINS
from tests.data import ROOT, math_file
from tests.models import tiny_policy
from tests.stages import make, rows


def write(file: Path, rows: list[Any]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


IMPORTED = {
    "math": (
        {"question": "?", "reference": r"\boxed{\frac{1}{2}}"},
        {r"So \boxed{0.5}": "correct", r"\boxed{2^{-1}}": "correct", r"\boxed{2}": "wrong"},
    ),
    "choice": (
        {"question": "?", "reference": {"options": ["x", "y"], "answer": "y"}},
        {"The answer is B": "correct", "Answer: x": "wrong", "y": "no_answer"},
    ),
}


@pytest.mark.parametrize("name", IMPORTED)
def test_imported_rollouts_are_graded_and_labelled(tmp_path: Path, name: str) -> None:
    row, samples = IMPORTED[name]
    file = write(tmp_path / "f.jsonl", [{**row, "samples": list(samples)}])
    given = {"out": str(tmp_path / "out"), "domain": {"name": name}, "policy": {"path": "/none"}}
    run = RunConfig.model_validate({**given, "rollouts": {"import_file": file}})
    make(run, "problems", "rollouts", "labels")
    found = rows(run, "rollouts")
    assert found["outcome"].to_list() == list(samples.values())
    assert set(found["grader"]) == {DOMAINS[name].GRADER}
    assert set(found["grader_version"]) == {DOMAINS[name].GRADER_VERSION}
    assert rows(run, "labels")["y"].sum() == list(samples.values()).count("correct")


def test_a_run_says_which_rows_it_left_out_and_asks_with_its_template(tmp_path: Path) -> None:
    problems = [{"problem": f"What is ${n}$?", "solution": f"\\boxed{{{n}}}"} for n in range(3)]
    domain = {
        "name": "math",
        "train_file": write(tmp_path / "train.jsonl", [*problems, {"problem": "?"}]),
        "prompt": "math/chat",
    }
    given = {"out": str(tmp_path / "out"), "domain": domain, "policy": {"path": str(tiny_policy())}}
    run = RunConfig.model_validate(given)
    figures = make(run, "problems")["problems"]["figures"]
    assert figures["train"] == 3
    left_out = {
        "rows": 1,
        "named": [{"row": 4, "reason": "field 'answer' or 'solution' is missing"}],
    }
    assert figures["malformed_train"] == left_out
    prompts = rows(run, "problems")["prompt"].to_list()
    assert prompts[0].startswith("What is $0$?\n\nWork this out step by step")
    keys = set()
    for prompt in (None, "math/chat", "math/few-shot"):
        other = RunConfig.model_validate({**given, "domain": {**domain, "prompt": prompt}})
        keys.add(pipeline.plan(other, until="labels")["rollouts"].key)
    assert len(keys) == 3


def test_the_configuration_of_math_is_planned_with_a_folder_of_files() -> None:
    folder = str(math_file("train").parent)
    run = load_config(
        str(ROOT / "deployments" / "configs" / "math.yaml"),
        [
            f"domain.train_file={folder}",
            f"domain.test_file={folder}",
            f"policy.path={tiny_policy()}",
        ],
    )
    names = ["problems", "rollouts", "pool_states", "labels", "qvm", "evaluation", "report"]
    assert list(pipeline.plan(run)) == names
