from __future__ import annotations

import json
from pathlib import Path

import pytest

from qstar_core.policies.licence import licence_of


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_the_card_says_it_before_the_configuration(tmp_path: Path) -> None:
    config = json.dumps({"license": "mit"})
    assert licence_of(write(tmp_path, config_json=config)) == "mit"
    card = "---\nlicense: llama3.1\ntags: [a]\n---\n# A model\n---\n"
    assert licence_of(write(tmp_path, README_md=card)) == "llama3.1"
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
