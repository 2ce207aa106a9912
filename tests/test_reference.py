"""The reference policy that comes with qstar is what its manifest and the documentation say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from qstar_core.policies.checkpoint import REFERENCE, resolve_checkpoint
from qstar_core.store.dataset import sha256_of

ROOT = Path(__file__).parents[1]
POLICY = REFERENCE / "countdown-policy"
MANIFEST = json.loads((POLICY / "manifest.json").read_text())


def test_the_manifest_names_every_file_with_its_hash() -> None:
    files = {f.name: sha256_of(f) for f in POLICY.iterdir() if f.name != "manifest.json"}
    assert {entry["name"]: entry["sha256"] for entry in MANIFEST["files"]} == files
    assert sum(entry["bytes"] for entry in MANIFEST["files"]) < 12 * 2**20


def test_it_writes_legal_lines_and_plans_imperfectly() -> None:
    figures = MANIFEST["figures"]
    assert figures["sampled_legal_lines"] >= 0.99
    assert 0.25 <= figures["greedy_accuracy"] <= 0.50


DOCUMENTS = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("deployments/*.yaml")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_reference_named_in_the_documents_is_there(document: Path) -> None:
    for name in re.findall(r"reference:[a-z0-9-]+", document.read_text()):
        resolve_checkpoint(name, "documentation")
