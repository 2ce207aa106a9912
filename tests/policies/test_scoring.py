"""What decides a value is in the run key of the evaluation, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qstar_core import pipeline
from qstar_core.config import PrmConfig, QvmConfig, RunConfig, SearchConfig
from qstar_core.errors import UserError
from qstar_core.policies import scoring
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.policies.identity import fingerprint
from tests.models import copied

QVM = "reference:countdown-qvm"
FOLDER = resolve_checkpoint(QVM, "qvm.path")
BY_MODEL = SearchConfig(name="A* with a PRM", algorithm="astar", reward="prm")


def asking(prm: str) -> RunConfig:
    return RunConfig(prm=PrmConfig(path=prm))


def keys(
    tmp_path: Path,
    prm: dict[str, Any] | None = None,
    evaluation: dict[str, int] | None = None,
    device: str = "auto",
    **qvm: Any,
) -> dict[str, str]:
    methods = [{"name": "A*", "algorithm": "astar", "reward": "prm" if prm else "rules"}]
    config = RunConfig.model_validate(
        {
            "out": str(tmp_path),
            "qvm": qvm,
            "prm": prm or {},
            "policy": {"device": device},
            "evaluation": {"methods": methods, "baseline": "A*", **(evaluation or {})},
        }
    )
    return {stage.name: stage.key for stage in pipeline.plan(config).values()}


def test_in_transformers_a_value_model_is_its_checkpoint() -> None:
    assert scoring.given_value(QvmConfig(path=QVM)) == fingerprint(FOLDER, "float64")
    there = {"path": QVM, "backend": "vllm", "score_dtype": "float32"}
    found = {
        scoring.given_value(QvmConfig.model_validate({**there, **more}))
        for more in ({}, {"engine": {"enforce_eager": True}}, {"score_dtype": "bfloat16"})
    }
    assert len(found | {fingerprint(FOLDER, "float32")}) == 4


def test_the_engine_changes_the_evaluation_and_not_the_training(tmp_path: Path) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"score_dtype": "float32"},
        {"score_dtype": "float32", "backend": "vllm"},
        {"score_dtype": "float32", "backend": "vllm", "engine": {"enforce_eager": True}},
        {"score_dtype": "float32", "score_batch_size": 7},
        {"score_dtype": "float32", "cache_mb": 7},
    ]
    for path in (None, QVM):
        found = [keys(tmp_path, path=path, **variant) for variant in variants]
        assert len({key["evaluation"] for key in found}) == len(variants)
        assert len({key.get("qvm") for key in found}) == 1
    plain = keys(tmp_path, path=QVM)
    assert keys(tmp_path, path=QVM, cache_mb=0, score_batch_size=7) == plain  # float64


TOGETHER: list[dict[str, Any]] = [
    {},
    {"evaluation": {"active": 7}},
    {"evaluation": {"shard_problems": 7}},
    {"device": "cpu"},
]


@pytest.mark.parametrize("scored", [{"score_dtype": "float32"}, {"prm": {"dtype": "bfloat16"}}])
def test_below_float64_what_is_scored_together_is_in_the_key(
    tmp_path: Path, scored: dict[str, Any]
) -> None:
    def found(scored: dict[str, Any]) -> set[str]:
        given = {"path": QVM, **scored}
        if "prm" in given:
            given["prm"] = {"path": QVM, **given["prm"]}
        return {keys(tmp_path, **more, **given)["evaluation"] for more in TOGETHER}

    assert len(found(scored)) == len(TOGETHER)
    assert len(found({"prm": {}})) == 1  # both in float64


def test_the_reward_model_changes_the_key_where_a_method_asks_it(tmp_path: Path) -> None:
    variants: list[dict[str, Any] | None] = [
        None,
        {"path": QVM},
        {"path": QVM, "dtype": "float32"},
        {"path": QVM, "dtype": "float32", "score_batch_size": 7},
        {"path": QVM, "dtype": "float32", "cache_mb": 0},
    ]
    found = [keys(tmp_path, prm, path=QVM)["evaluation"] for prm in variants]
    assert len(set(found)) == len(variants)
    assert keys(tmp_path, {"path": QVM, "score_batch_size": 7}, path=QVM)["evaluation"] == found[1]
    assert scoring.rewarding(asking("/nowhere"), []) == {}  # nobody asks it


def test_a_reward_model_that_is_named_must_be_there() -> None:
    with pytest.raises(UserError, match=r"prm\.path: no checkpoint"):
        scoring.rewarding(asking("/nowhere"), [BY_MODEL])
    with pytest.raises(UserError, match=r"prm\.path: .* is no trained reward model"):
        scoring.rewarding(asking("reference:countdown-policy"), [BY_MODEL])


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ({"id2label": {"0": "wrong", "1": "right"}}, "2 labels (wrong, right)"),
        ({"id2label": None}, "2 labels (LABEL_0, LABEL_1)"),  # the default is not written
        ({"id2label": {str(k): f"L{k}" for k in range(3)}}, "3 labels (L0, L1, L2)"),
    ],
)
@pytest.mark.parametrize("field", ["qvm.path", "prm.path"])
def test_a_head_with_several_labels_is_refused(
    tmp_path: Path, field: str, settings: dict[str, Any], labels: str
) -> None:
    folder = copied(FOLDER, tmp_path / "model", **settings)
    with pytest.raises(UserError, match=f"{field}: the head of .* has {re.escape(labels)}") as e:
        resolve_checkpoint(str(folder), field)
    assert "num_labels=1" in e.value.next_step


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"backend": "vllm"}, "vllm has no float64: set score_dtype"),
        ({"engine": {"enforce_eager": True}}, "engine needs backend: vllm"),
        (
            {"backend": "vllm", "score_dtype": "float32", "engine": {"convert": "embed"}},
            "engine.convert is refused",
        ),
        (
            {"backend": "vllm", "score_dtype": "float32", "engine": {"trust_remote_code": True}},
            "never run",
        ),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        QvmConfig.model_validate(settings)
