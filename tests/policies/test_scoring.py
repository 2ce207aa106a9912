"""What decides a value is in the run key of the evaluation, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qstar_core import pipeline
from qstar_core.config import PrmConfig, QvmConfig, RunConfig, SearchConfig
from qstar_core.errors import UserError
from qstar_core.policies import scoring
from qstar_core.policies.checkpoint import fingerprint, resolve_checkpoint

QVM = "reference:countdown-qvm"
FOLDER = resolve_checkpoint(QVM, "qvm.path")
BY_MODEL = SearchConfig(name="A* with a PRM", algorithm="astar", reward="prm")


def keys(tmp_path: Path, prm: dict[str, Any] | None = None, **qvm: Any) -> dict[str, str]:
    methods = [{"name": "A*", "algorithm": "astar", "reward": "prm" if prm else "rules"}]
    config = RunConfig.model_validate(
        {
            "out": str(tmp_path),
            "qvm": qvm,
            "prm": prm or {},
            "evaluation": {"methods": methods, "baseline": "A*"},
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


def test_the_reward_model_changes_the_key_where_a_method_asks_it(tmp_path: Path) -> None:
    variants: list[dict[str, Any] | None] = [
        None,
        {"path": QVM},
        {"path": QVM, "dtype": "float32"},
        {"path": QVM, "dtype": "float32", "batch_size": 7},
        {"path": QVM, "dtype": "float32", "cache_mb": 0},
    ]
    found = [keys(tmp_path, prm, path=QVM)["evaluation"] for prm in variants]
    assert len(set(found)) == len(variants)
    assert keys(tmp_path, {"path": QVM, "batch_size": 7}, path=QVM)["evaluation"] == found[1]
    assert scoring.rewarding(PrmConfig(path="/nowhere"), []) == {}  # nobody asks it


def test_a_method_without_its_reward_model_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    config = RunConfig.model_validate(
        {
            "out": str(tmp_path / "out"),
            "evaluation": {"methods": [BY_MODEL.model_dump()], "baseline": BY_MODEL.name},
        }
    )
    with pytest.raises(UserError, match=r"prm\.path: method 'A\* with a PRM'") as raised:
        pipeline.plan(config)
    assert "--set prm.path=" in raised.value.next_step
    with pytest.raises(UserError, match=r"prm\.path: no checkpoint"):
        scoring.rewarding(PrmConfig(path="/nowhere"), [BY_MODEL])
    with pytest.raises(UserError, match=r"prm\.path: .* is no trained reward model"):
        scoring.rewarding(PrmConfig(path="reference:countdown-policy"), [BY_MODEL])


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
