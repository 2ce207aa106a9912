from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from qstar_core.audit.model_card import NAME
from qstar_core.audit.policy_card import LIMITS, policy_card
from qstar_core.config import CardConfig
from qstar_core.domains import countdown
from qstar_core.evaluation.wording import number
from qstar_core.policies import SampleRequest
from qstar_core.policies.transformers import TransformersPolicy
from qstar_core.store import dataset
from tests.values.runs import folder, tuned


def head() -> dict[str, Any]:
    return dataset.read_manifest(tuned()) or {}


def text() -> str:
    return (Path(tuned()) / NAME).read_text(encoding="utf-8")


def test_the_card_is_one_of_the_files_and_made_of_the_manifest() -> None:
    [entry] = [e for e in head()["files"] if e["name"] == NAME]
    assert entry["sha256"] == dataset.sha256_of(Path(tuned()) / NAME)
    assert policy_card(head(), CardConfig(licence="Apache-2.0")) == text()
    for date_or_time in (str(folder()), head()["created"][:10], "seconds"):
        assert date_or_time not in text()


def test_its_head_is_one_that_the_hub_reads() -> None:
    data = ModelCard.load(Path(tuned()) / NAME).data
    assert data.license == "apache-2.0" and data.library_name == "transformers"
    assert data.pipeline_tag == "text-generation" and "rejection-sampling" in data.tags
    assert data.base_model is None  # reference:countdown-policy is no name on the hub
    [result] = data.eval_results
    assert result.metric_value == head()["figures"]["heldout_loss"]
    config = head()["config"]
    base = {**config, "sft": {**config["sft"], "base": "Qwen/Qwen3-0.6B"}}
    told = policy_card({**head(), "config": base, "licence": "mit"}, CardConfig())
    assert "license: mit\n" in told and "base_model: Qwen/Qwen3-0.6B\n" in told


def test_it_says_what_it_was_trained_on_and_what_came_of_it() -> None:
    figures = head()["figures"]
    for part in (
        f"| problems | {figures['problems']:,} |",
        f"{figures['solutions']:,}, given by {figures['rollouts']:,} rollouts",
        f"| held-out loss | {number(figures['heldout_loss'], 4)} |",
        f"| held-out loss before | {number(figures['heldout_loss_before'], 4)} |",
        "the weights with the lowest held-out loss",
        head()["inputs"]["rollouts"],
        head()["rows_from"]["base"],
        "qstar train-policy CONFIG",
        *LIMITS,
    ):
        assert part in text(), part


def test_what_is_not_known_or_otherwise_is_said() -> None:
    figures = {**head()["figures"], "heldout_loss": None, "heldout_loss_before": None}
    told = policy_card({**head(), "figures": figures}, CardConfig(description="*Mine*."))
    assert "Nothing was held out" in told and "model-index" not in told
    assert "No licence is stated" in told and "*Mine*." in told
    config = head()["config"]
    lora = {**config["sft"], "lora": {"rank": 8}, "keep_best": False}
    told = policy_card({**head(), "config": {**config, "sft": lora}}, CardConfig())
    assert "a LoRA adapter of rank 8, merged" in told and "Published are the last weights" in told
    chat = {**head()["rows_from"], "chat": True}
    assert "apply_chat_template(" in policy_card({**head(), "rows_from": chat}, CardConfig())


def test_its_three_lines_write_what_qstar_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = text().split("```python\n")[1].split("\n```")[0]
    assert len(lines.splitlines()) == 3
    monkeypatch.chdir(tuned())
    prompt = countdown.make_problem([2, 3, 6], 12).prompt
    found: dict[str, Any] = {"prompt": prompt}
    exec(lines, found)
    policy = TransformersPolicy(Path(tuned()), "float32", "cpu", 8)
    [[sample]] = policy.sample([SampleRequest(prompt, (0,), 8, 96, 0.0)])
    assert found["answer"] == prompt + "".join(step.text for step in sample.steps)
