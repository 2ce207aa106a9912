from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCardData

from qstar_core.audit.front_matter import front, of_base, of_licence


@pytest.mark.parametrize(
    ("said", "identifier", "name"),
    [
        ("Apache-2.0", "apache-2.0", None),
        ("llama3.1", "llama3.1", None),
        ("CC-BY-NC-4.0", "cc-by-nc-4.0", None),
        ("qwen-research", "other", "qwen-research"),
        ("Ours, ask first", "other", "Ours, ask first"),
        (None, None, None),
        ("", None, None),
    ],
)
def test_a_licence_is_an_identifier_of_the_hub_or_other_with_a_name(
    said: str | None, identifier: str | None, name: str | None
) -> None:
    found = of_licence(said)
    assert found.get("license") == identifier and found.get("license_name") == name


def test_a_base_model_is_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert of_base("Qwen/Qwen3-0.6B")["base_model"] == "Qwen/Qwen3-0.6B"
    for path in ("reference:countdown-policy", "/models/mine", "s3://bucket/mine", "a/sft/b"):
        assert of_base(path) == {}
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert of_base("models/mine") == {}  # which is what is loaded, see resolve_checkpoint


def test_the_head_is_what_the_hub_s_own_reader_takes() -> None:
    result = {
        "dataset": {"type": "qstar-labels", "name": "labels: x"},
        "metrics": [{"type": "brier", "name": "Brier score", "value": 0.25}],
    }
    given = ("MIT", "a/b", "text-generation", ["one"], "T: #1", [result])
    found = yaml.safe_load(front(*given))
    data = ModelCardData(**found, ignore_metadata_errors=False)
    assert (data.license, data.base_model, data.tags) == ("mit", "a/b", ["one"])
    assert data.library_name == "transformers" and data.pipeline_tag == "text-generation"
    [read] = data.eval_results or []
    assert (read.metric_name, read.metric_value, read.dataset_name) == (
        "Brier score",
        0.25,
        "labels: x",
    )
    assert "model-index" not in yaml.safe_load(front(*given[:-1], []))
