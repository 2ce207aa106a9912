from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qstar_core import pipeline
from qstar_core.config import PolicyConfig, PoolConfig, RunConfig
from qstar_core.config_pools import USED
from qstar_core.errors import UserError
from tests.models import tiny_policy

ADAPTIVE = {"max_samples": 20}
USUAL: dict[str, dict[str, Any]] = {
    "states": ADAPTIVE,
    "stronger": {**ADAPTIVE, "temperature": 0.5},
    "mcts": {},
    "binary_search": {},
}
OTHER = {
    "max_states": 5,
    "max_samples": 21,
    "tokens_per_problem": 100,
    "exploration_rule": "puct",
}
FIELDS = [(kind, field) for kind, fields in USED.items() for field in fields]


def config(tmp_path: Path, *pools: dict[str, Any], **more: Any) -> RunConfig:
    policy = PolicyConfig(path=str(tiny_policy())).model_dump()
    given = {"out": str(tmp_path / "out"), "policy": policy, "pools": list(pools), **more}
    return RunConfig.model_validate(given)


def keys(tmp_path: Path, *pools: dict[str, Any], **more: Any) -> dict[str, str]:
    return {n: s.key for n, s in pipeline.plan(config(tmp_path, *pools, **more)).items()}


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_every_field_that_a_kind_uses_changes_its_key(
    tmp_path: Path, kind: str, field: str
) -> None:
    pool = {"kind": kind, **USUAL[kind]}
    value = getattr(PoolConfig.model_validate(pool), field)
    if field == "policy":
        new: Any = {"path": str(tiny_policy()), "dtype": "float32"}
    elif field in OTHER:
        new = OTHER[field]
    else:
        new = value + 1 if isinstance(value, int) else value * 0.5
    before, after = keys(tmp_path, pool), keys(tmp_path, {**pool, field: new})
    assert before[f"pool_{kind}"] != after[f"pool_{kind}"]
    assert before["labels"] != after["labels"] and before["qvm"] != after["qvm"]
    assert before["rollouts"] == after["rollouts"]


@pytest.mark.parametrize("kind", list(USED))
def test_a_field_of_another_kind_is_refused(kind: str) -> None:
    others = {name for names in USED.values() for name in names} - set(USED[kind])
    for name in others:
        new = {"policy": {}, "temperature": 0.5, "width": 0.2, "exploration": 2.0, **OTHER}
        value = new.get(name, 2)
        with pytest.raises(ValidationError, match=f"a pool of kind {kind} has no {name}"):
            PoolConfig.model_validate({"kind": kind, name: value})


def test_without_pools_nothing_is_as_if_there_were_none(tmp_path: Path) -> None:
    plain, with_pool = keys(tmp_path), keys(tmp_path, {"kind": "states"})
    assert list(with_pool) == [*list(plain)[:2], "pool_states", *list(plain)[2:]]
    assert plain["labels"] != with_pool["labels"]
    rows = pipeline.plan(config(tmp_path))["labels"].rows
    assert "pools" not in rows


def test_a_pool_is_what_it_holds_whatever_its_name(tmp_path: Path) -> None:
    usual = pipeline.plan(config(tmp_path, {"kind": "states"}))["pool_states"]
    named = pipeline.plan(config(tmp_path, {"kind": "states", "name": "my_own"}))["pool_my_own"]
    assert (usual.key, usual.uri) == (named.key, named.uri)
    assert named.kind == "pool" and usual.uri.endswith(f"/out/pool/{usual.key}")
    # what an adaptive pool alone looks at is in no other's key
    assert "width" not in usual.rows and "increment" not in usual.rows


@pytest.mark.parametrize(
    ("pools", "what"),
    [
        ([{"kind": "states"}, {"kind": "mcts", "name": "states"}], "different names"),
        ([{"kind": "states"}, {"kind": "states", "name": "b"}], "the same samples twice"),
        ([{"kind": "states", "name": "a/b"}], "should match pattern"),
        ([{"kind": "states", "width": 0.1}], "width needs max_samples"),
        ([{"kind": "states", "tokens_per_problem": 9}], "tokens_per_problem needs max_samples"),
        ([{"kind": "states", "max_samples": 7}], "must not be below samples"),
        ([{"kind": "stronger", "max_samples": 9}], "at 0 all samples are equal"),
        ([{"kind": "random"}], "'states', 'stronger', 'mcts' or 'binary_search'"),
    ],
)
def test_pools_that_are_refused(pools: list[dict[str, Any]], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        RunConfig.model_validate({"pools": pools})


def test_stronger_pools_may_be_several() -> None:
    pools = [{"kind": "stronger", "name": f"t{t}", "temperature": t} for t in (0.0, 0.3)]
    config = RunConfig.model_validate({"pools": pools})
    assert [pool.draws for pool in config.pools] == [1, 8]


def test_a_manifests_configuration_is_one_again() -> None:
    pools = [{"kind": kind, **fields} for kind, fields in USUAL.items()]
    config = RunConfig.model_validate({"pools": pools})
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_another_policy_that_is_missing_is_named_by_its_pool(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pool_stronger: policy\.path"):
        keys(tmp_path, {"kind": "stronger", "policy": {"path": str(tmp_path / "none")}})


def test_the_precision_of_the_pools_policy_brings_its_batch_into_the_key(tmp_path: Path) -> None:
    def key(batch: int) -> str:
        policy = {"path": str(tiny_policy()), "dtype": "float32", "batch_size": batch}
        return keys(tmp_path, {"kind": "stronger", "policy": policy})["pool_stronger"]

    assert key(16) != key(32)
