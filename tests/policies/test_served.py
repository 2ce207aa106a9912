from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qstar_core import pipeline
from qstar_core.config import PolicyConfig, RunConfig, ServerConfig
from qstar_core.errors import UserError
from qstar_core.policies.identity import identity
from qstar_core.policies.served import addresses, model_name
from tests.models import tiny_policy


def policy(**fields: Any) -> PolicyConfig:
    given = {"backend": "server", "path": str(tiny_policy()), "dtype": "float32", **fields}
    return PolicyConfig.model_validate(given)


def test_addresses_are_made_equal() -> None:
    given = ("http://a:8000", "http://b:8000/v1/", "https://c/llm/v1")
    expected = ["http://a:8000/v1", "http://b:8000/v1", "https://c/llm/v1"]
    assert addresses(ServerConfig(urls=given)) == expected


@pytest.mark.parametrize(
    "url", ["http://user:secret@a/v1", "http://a/v1?key=secret", "http://a/v1#secret"]
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    run = RunConfig(out=str(tmp_path), policy=policy(server={"urls": [url]}))
    with pytest.raises(UserError, match=r"policy\.server\.urls\.0") as caught:
        pipeline.plan(run)
    assert "secret" not in repr(caught.value.to_dict())
    assert "QSTAR_SERVER_KEY" in caught.value.next_step


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://a/v1", "http://", "a b"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="no http address"):
        addresses(ServerConfig(urls=(url,)))


def test_an_address_stands_there_once() -> None:
    with pytest.raises(UserError, match="twice"):
        addresses(ServerConfig(urls=("http://a:1", "http://a:1/v1/")))
    with pytest.raises(ValidationError):
        ServerConfig(urls=())


def test_what_shapes_a_sample_is_in_the_fingerprint() -> None:
    base = identity(policy())
    others = [
        policy(dtype="bfloat16"),
        policy(chat=True),
        policy(server={"model": "m"}),
        policy(server={"revision": "r"}),
        policy(path="reference:countdown-policy"),
        policy(backend="vllm"),
        policy(backend="transformers"),
        policy(path="owner/name"),
        policy(path="owner/other"),
    ]
    found = [identity(other) for other in others]
    assert len({base, *found}) == len(others) + 1
    runtime = {"urls": ["http://elsewhere:1"], "concurrency": 3, "timeout_s": 5.0, "retries": 1}
    assert identity(policy(server=runtime)) == base


def test_a_checkpoint_is_known_by_its_content_where_it_is_here(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tiny_policy().iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert identity(policy(path=str(copy))) == identity(policy())
    with pytest.raises(UserError, match=r"policy\.path"):
        identity(policy(path=str(tmp_path / "none")))


def test_the_name_that_is_asked_for() -> None:
    assert model_name(policy()) is None
    assert model_name(policy(path="owner/name")) == "owner/name"
    assert model_name(policy(path="owner/name", server={"model": "m"})) == "m"


def test_a_served_model_has_no_float64_and_takes_no_engine_arguments() -> None:
    for wrong in ({"dtype": "float64"}, {"lora": "x"}, {"engine": {"max_model_len": 3}}):
        with pytest.raises(ValidationError):
            policy(**wrong)


def test_only_what_the_servers_are_decides_the_keys_of_a_run(tmp_path: Path) -> None:
    def keys(**fields: Any) -> dict[str, str]:
        run = RunConfig(out=str(tmp_path), policy=policy(**fields))
        return {stage.name: stage.key for stage in pipeline.plan(run).values()}

    assert keys(batch_size=7, device="cpu", server={"urls": ["http://a:1"]}) == keys()
    changed = keys(server={"revision": "2026-11"})
    assert changed["problems"] == keys()["problems"]
    assert changed["rollouts"] != keys()["rollouts"]
    assert changed["evaluation"] != keys()["evaluation"]


def test_a_hub_name_that_cannot_be_had_is_no_backbone(tmp_path: Path) -> None:
    run = RunConfig(out=str(tmp_path), policy=policy(path="owner/name"))
    with pytest.raises(UserError, match=r"qvm\.init: owner/name is neither"):
        pipeline.plan(run)
