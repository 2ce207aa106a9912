"""The checkpoints that come with qstar are what their manifests and the documentation say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qstar_core.policies.checkpoint import REFERENCE, resolve_checkpoint
from qstar_core.policies.identity import fingerprint
from qstar_core.store.dataset import sha256_of
from qstar_core.values.measuring import by_step
from qstar_core.values.score import TransformersValue

ROOT = Path(__file__).parents[1]
POLICY = REFERENCE / "countdown-policy"
QVM = REFERENCE / "countdown-qvm"
POLICY24 = REFERENCE / "countdown24-policy"
QVM24 = REFERENCE / "countdown24-qvm"
INSTRUCTED = REFERENCE / "countdown-instructed-policy"


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


@pytest.mark.parametrize(
    "folder", [POLICY, QVM, POLICY24, QVM24, INSTRUCTED], ids=lambda path: path.name
)
def test_the_manifest_names_every_file_with_its_hash(folder: Path) -> None:
    files = {f.name: sha256_of(f) for f in folder.iterdir() if f.name != "manifest.json"}
    entries = manifest(folder)["files"]
    assert {entry["name"]: entry["sha256"] for entry in entries} == files
    assert sum(entry["bytes"] for entry in entries) < 12 * 2**20


def test_the_policy_writes_legal_lines_and_plans_imperfectly() -> None:
    figures = manifest(POLICY)["figures"]
    assert figures["sampled_legal_lines"] >= 0.99
    assert 0.25 <= figures["greedy_accuracy"] <= 0.50


def test_the_policy_of_game_of_24_plays_through_fractions() -> None:
    assert manifest(POLICY24)["config"]["fraction_weight"] > 0
    figures = manifest(POLICY24)["figures"]
    assert figures["sampled_legal_lines"] >= 0.95 and figures["greedy_accuracy"] >= 0.25


def test_the_policy_that_obeys_is_small_and_was_trained_on_instructed_plays() -> None:
    told = manifest(INSTRUCTED)
    assert told["config"]["instructed"] and not told["domain"]["ranges"]["use_all"]
    assert sum(entry["bytes"] for entry in told["files"]) < 3 * 10**6
    figures = told["figures"]
    assert figures["obeyed"] >= 0.9 and figures["sampled_legal_lines"] >= 0.85
    assert figures["greedy_accuracy"] >= 0.5 and figures["sampled_accuracy"] >= 0.4


def test_the_qvm_starts_from_the_policy_and_ranks_held_out_steps() -> None:
    assert manifest(QVM)["rows_from"]["backbone"] == fingerprint(POLICY, "float64")
    figures = by_step(pl.read_parquet(QVM / "predictions.parquet"))
    for row, told in zip(figures, manifest(QVM)["figures"]["heldout"], strict=True):
        assert {name: row[name] for name in told} == told
    reached = {row["step"]: row["auc_truth"] for row in figures}
    assert reached["first"] >= 0.80 and reached["second"] >= 0.90 and reached["final"] >= 0.98


def test_the_qvm_tells_a_line_that_reaches_the_target() -> None:
    value = TransformersValue(QVM, "float64", "cpu", 8)
    start = "6 5 4 3 > 8\n6 - 5 = 1 | 4 3 1 > 8\n4 + 3 = 7 | 7 1 > 8\n"
    right, wrong = value.score(
        [start + "7 + 1 = 8 | 8 > 8", start + "7 * 1 = 7 | 7 > 8"], [True] * 2
    )
    assert right > 0.9 and wrong < 0.1


DOCUMENTS = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("deployments/**/*.yaml")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_reference_named_in_the_documents_is_there(document: Path) -> None:
    for name in re.findall(r"reference:[a-z0-9-]+", document.read_text()):
        resolve_checkpoint(name, "documentation")
