from __future__ import annotations

from qstar_core.config import PolicyConfig, PrmConfig, QvmConfig, RunConfig, SearchConfig
from qstar_core.loading import load_reward_model, load_value
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
