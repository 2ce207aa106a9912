from __future__ import annotations

import json
from pathlib import Path

import pytest

from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.policies.identity import fingerprint
from qstar_core.policies.licence import licence_of
from qstar_core.store import open_store
from qstar_core.store.copying import fetch
from qstar_core.store.uri import leaf
from tests.models import tiny_policy
from tests.values.runs import tuned


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_the_card_says_it_before_the_configuration(tmp_path: Path) -> None:
    config = json.dumps({"license": "mit"})
    assert licence_of(write(tmp_path, config_json=config)) == "mit"
    card = "---\nlicense: llama3.1\ntags: [a]\n---\n# A model\n---\n"
    assert licence_of(write(tmp_path, README_md=card)) == "llama3.1"
    named = "---\nlicense: other\nlicense_name: qwen-research\n---\n"
    assert licence_of(write(tmp_path, README_md=named)) == "qwen-research"
    published = json.dumps({"licence": "apache-2.0"})
    assert licence_of(write(tmp_path, manifest_json=published)) == "apache-2.0"


@pytest.mark.parametrize(
    "card",
    ["", "# No metadata", "---\nlicense: [a\n---\n", "---\n- a\n---\n", "---\nlicense:\n---\n"],
)
def test_a_card_that_says_nothing(tmp_path: Path, card: str) -> None:
    assert licence_of(write(tmp_path, README_md=card, config_json="[]")) is None


def test_no_files_at_all(tmp_path: Path) -> None:
    assert licence_of(tmp_path) is None


def upload(folder: Path, uri: str, **more: str) -> str:
    """Puts the files of a folder there, and some further ones."""
    store = open_store(uri)
    for file in folder.iterdir():
        if file.is_file():
            store.replace(file.name, file.read_bytes())
    for name, text in more.items():
        store.replace(name.replace("_", "."), text.encode())
    return uri


def test_a_checkpoint_on_s3_says_it_as_a_local_one_does(bucket: str) -> None:
    card = "---\nlicense: llama3.1\n---\n"
    told = upload(tiny_policy(), f"{bucket}/told", README_md=card)
    folder = resolve_checkpoint(told, "policy.path")
    assert licence_of(folder) == "llama3.1"
    assert fingerprint(folder, "float32") == fingerprint(tiny_policy(), "float32")
    untold = resolve_checkpoint(upload(tiny_policy(), f"{bucket}/untold"), "policy.path")
    assert licence_of(untold) is None
    upload(tiny_policy(), told, README_md=card.replace("llama3.1", "mit"))
    assert licence_of(resolve_checkpoint(told, "policy.path")) == "mit"
    manifest = json.dumps({"licence": "gemma", "files": []})
    upload(tiny_policy(), told, manifest_json=manifest)
    assert licence_of(resolve_checkpoint(told, "policy.path")) == "gemma"


def test_a_fine_tuned_policy_keeps_it_on_s3_and_in_a_fetched_copy(
    bucket: str, tmp_path: Path
) -> None:
    uri = upload(Path(tuned()), f"{bucket}/out/sft/{leaf(tuned())}")
    store = open_store(uri)
    for receipt in (Path(tuned()) / "shards").iterdir():
        store.replace(f"shards/{receipt.name}", receipt.read_bytes())
    assert licence_of(resolve_checkpoint(uri, "policy.path")) == "apache-2.0"
    fetch(uri, str(tmp_path / "copy"))
    assert licence_of(resolve_checkpoint(str(tmp_path / "copy"), "policy.path")) == "apache-2.0"
