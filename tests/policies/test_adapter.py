"""A LoRA adapter on S3: its files are copied, and its content is what counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from qstar_core.config import PolicyConfig
from qstar_core.errors import UserError
from qstar_core.policies.checkpoint import resolve_adapter
from qstar_core.policies.identity import identity
from qstar_core.store import open_store
from tests.models import tiny_policy

FILES = {"adapter_config.json": b'{"r": 8}', "adapter_model.safetensors": b"weights"}


def with_adapter(path: str) -> PolicyConfig:
    given = {"backend": "vllm", "dtype": "float32", "path": str(tiny_policy()), "lora": path}
    return PolicyConfig.model_validate(given)


def put(uri: str, files: dict[str, bytes]) -> str:
    store = open_store(uri)
    for name, content in files.items():
        store.replace(name, content)
    return uri


def test_it_is_the_policy_that_a_local_copy_makes(bucket: str, tmp_path: Path) -> None:
    uri = put(f"{bucket}/adapters/one", {**FILES, "notes.txt": b"of no use"})
    folder = resolve_adapter(uri)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == FILES
    assert resolve_adapter(uri) == folder
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    assert identity(with_adapter(uri)) == identity(with_adapter(str(tmp_path)))


def test_other_weights_are_another_policy(bucket: str) -> None:
    uri = put(f"{bucket}/adapter", FILES)
    before = identity(with_adapter(uri))
    put(uri, {"adapter_model.safetensors": b"others"})
    assert identity(with_adapter(uri)) != before


@pytest.mark.parametrize("missing", sorted(FILES))
def test_one_that_lacks_a_file_is_refused(bucket: str, missing: str) -> None:
    left = {name: content for name, content in FILES.items() if name != missing}
    uri = put(f"{bucket}/adapter", left)
    with pytest.raises(
        UserError, match=r"policy\.lora: no checkpoint with adapter_config"
    ) as error:
        resolve_adapter(uri)
    assert uri in error.value.what
