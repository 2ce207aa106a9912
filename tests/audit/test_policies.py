from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qstar_core import pipeline
from qstar_core.audit.policies import check_policy, trained_on
from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.stage import Stage
from tests.audit.examples import write_problems
from tests.models import tiny_policy
from tests.sft.examples import problems

KEYS = ["a" * 24, "b" * 24]


def policy(out: Path, key: str, base: str, inputs: dict[str, str]) -> str:
    """A published policy in name."""
    folder = out / "sft" / key
    folder.mkdir(parents=True)
    config = {"policy": {"path": base}, "sft": {"base": None}}
    manifest = {"key": key, "files": [], "inputs": inputs, "config": config}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def run_on(path: str, allow: list[Any]) -> RunConfig:
    return RunConfig.model_validate({"policy": {"path": path}, "qvm": {"allow": allow}})


def test_the_problems_of_a_policy_and_of_those_before_it(tmp_path: Path) -> None:
    known = list(problems(12))
    outs = [tmp_path / name for name in ("one", "two", "here")]
    tables = [
        write_problems(out, train, test, RunConfig())
        for out, train, test in zip(
            outs, (known[:4], known[4:8], known[8:]), ([], [], known[:1]), strict=True
        )
    ]
    first = policy(outs[0], KEYS[0], str(tiny_policy()), {"problems": "key"})
    second = policy(outs[1], KEYS[1], first, {"problems": "key"})
    assert trained_on(second) == tables[1::-1]
    assert trained_on(str(tiny_policy())) == trained_on("sft/" + "c" * 24) == []

    test = tables[2].replace("/key", "/other")
    Path(tables[2]).rename(test)
    for path, refused in ((first, True), (second, True), (str(tiny_policy()), False)):
        stage = Stage("evaluation", "k", "u", {"problems": test}, {})
        if not refused:
            pipeline.check_held_out(stage, run_on(path, []))
            continue
        with pytest.raises(UserError, match="1 of 1 test problems are training problems") as caught:
            pipeline.check_held_out(stage, run_on(path, []))
        assert "nothing was searched" in caught.value.safe
        pipeline.check_held_out(stage, run_on(path, ["leakage", "near_duplicates"]))


def test_a_policy_of_the_same_problems_was_checked_when_it_was_trained(tmp_path: Path) -> None:
    known = list(problems(12))
    table = write_problems(tmp_path, known[:4], known[:1], RunConfig())
    path = policy(tmp_path, KEYS[0], "x", {"problems": "key"})
    check_policy(run_on(path, []), table)
    Path(table).rename(tmp_path / "gone")
    assert trained_on(path) == []
