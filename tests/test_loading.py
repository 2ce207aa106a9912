from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qstar_core import loading
from qstar_core.config import PolicyConfig, PrmConfig, QvmConfig, RunConfig, SearchConfig
from qstar_core.errors import ModelReplaced
from qstar_core.loading import load_judge, load_policy, load_reward_model, load_value
from qstar_core.policies import vllm, vllm_engine
from qstar_core.values import vllm as values_in_vllm
from qstar_core.values.score import TransformersValue
from tests.models import tiny_policy, tiny_qvm

BY_MODEL = SearchConfig(name="m", algorithm="astar", reward="prm")
BY_RULES = SearchConfig(name="m", algorithm="astar", reward="rules")


def test_models_are_loaded_once_and_start_each_shard_without_prefixes() -> None:
    policy = PolicyConfig(path=str(tiny_policy()))
    config = RunConfig(policy=policy, qvm=QvmConfig(cache_mb=3), prm=PrmConfig(cache_mb=3))
    value = load_value(tiny_qvm(), config)
    assert isinstance(value, TransformersValue)
    value.scorer.cached_from = 2
    value.score(["1 2 3"], [False])
    assert value.scorer.cache.used_bytes > 0
    assert load_value(tiny_qvm(), config) is value
    assert value.scorer.cache.used_bytes == 0 and value.scorer.cache.max_bytes == 3 << 20


def test_a_reward_model_is_loaded_where_a_method_asks_it() -> None:
    assert load_reward_model(RunConfig(prm=PrmConfig(path="/nowhere")), BY_RULES, {}) is None
    config = RunConfig(prm=PrmConfig(path=str(tiny_qvm(1)), cache_mb=0))
    prm = load_reward_model(config, BY_MODEL, {})
    assert prm is not None and load_reward_model(config, BY_MODEL, {}) is prm
    assert prm.fingerprint != load_value(tiny_qvm(), RunConfig()).fingerprint
    # one checkpoint for both is in memory once
    same = RunConfig(prm=PrmConfig(path=str(tiny_qvm())))
    assert load_reward_model(same, BY_MODEL, {}) is load_value(tiny_qvm(), same)


@pytest.fixture
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(vllm_engine, "_claimed", {})
    loads = (loading._load_policy, loading._load_judge, loading._open_in_vllm)
    for load in (*loads, loading._load_in_vllm):
        load.cache_clear()
    yield
    for load in (*loads, loading._load_in_vllm):
        load.cache_clear()


@pytest.mark.usefixtures("nothing_loaded")
def test_what_vllm_runs_in_a_place_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Engine:
        def __init__(self, folder: Path, dtype: str, *_: object, **__: object) -> None:
            self.made_of = folder, dtype

    monkeypatch.setattr(vllm, "VllmPolicy", Engine)
    monkeypatch.setattr(values_in_vllm, "VllmValue", Engine)

    def policy(dtype: str, **other: Any) -> PolicyConfig:
        return PolicyConfig(path=str(tiny_policy()), backend="vllm", dtype=dtype, **other)

    kept = load_policy(policy("float32"))
    assert load_policy(policy("float32")) is kept
    assert load_judge(policy("bfloat16")) is not kept  # another place
    plain = PolicyConfig(path=str(tiny_policy()))
    assert load_policy(plain) is not kept and load_policy(policy("float32")) is kept
    with pytest.raises(ModelReplaced, match="this worker's policy is another model"):
        load_policy(policy("bfloat16"))
    qvm = QvmConfig(backend="vllm", score_dtype="float32")
    value = load_value(tiny_qvm(), RunConfig(qvm=qvm))
    assert load_value(tiny_qvm(), RunConfig(qvm=qvm)) is value
    with pytest.raises(ModelReplaced, match="qvm"):
        load_value(tiny_qvm(1), RunConfig(qvm=qvm))


@pytest.mark.usefixtures("nothing_loaded")
def test_an_engine_that_did_not_start_may_be_tried_again() -> None:
    for _ in range(2):
        vllm_engine.claim("policy", "a")
    with pytest.raises(ModelReplaced):
        vllm_engine.claim("policy", "b")
