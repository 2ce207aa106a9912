from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from huggingface_hub import ModelCard

from qstar_core import pipeline
from qstar_core.audit.model_card import NAME, WORDS, model_card
from qstar_core.config import CardConfig
from qstar_core.domains.problem_table import read_problems
from qstar_core.evaluation.wording import MINUS
from qstar_core.provenance.manifests import inputs
from qstar_core.store import dataset
from qstar_core.values.score import TransformersValue
from tests.test_reward_model import OTHER, run_of
from tests.test_reward_model import make as make_on_annotations
from tests.values.runs import config_of, folder, trained, trained_prm


@pytest.fixture(scope="module")
def model() -> str:
    return trained()


@pytest.fixture(scope="module")
def text(model: str) -> str:
    return (Path(model) / NAME).read_text(encoding="utf-8")


def head_of(model: str) -> dict[str, Any]:
    return dataset.read_manifest(model) or {}


def rendered(model: str, about: CardConfig | None = None, **figures: Any) -> str:
    head = head_of(model)
    head["figures"] = {**head["figures"], **figures}
    return model_card(head, about or CardConfig(), inputs(model, head))


def test_the_card_is_one_of_the_files_of_the_data_set(model: str, text: str) -> None:
    [entry] = [e for e in head_of(model)["files"] if e["name"] == NAME]
    assert entry["sha256"] == dataset.sha256_of(Path(model) / NAME)
    assert rendered(model, CardConfig(licence="Apache-2.0")) == text


def test_its_head_is_one_that_the_hub_reads(model: str) -> None:
    data = ModelCard.load(Path(model) / NAME).data
    assert data.license == "apache-2.0" and data.library_name == "transformers"
    assert data.pipeline_tag == "token-classification" and "qstar" in data.tags
    assert data.base_model is None  # reference:countdown-policy is no name on the hub
    values = {result.metric_name: result.metric_value for result in data.eval_results}
    [first, *_] = head_of(model)["figures"]["heldout"]
    assert values["AUC against the exact Q*, first steps"] == first["auc_truth"]
    assert values["expected calibration error, first steps"] == first["ece"]


def test_it_says_what_was_trained_on_what_and_how_good_it_is(model: str, text: str) -> None:
    head = head_of(model)
    figures, labels = head["figures"], head["inputs"]["labels"]
    for part in (head["key"], labels, "best\\_of\\_rollouts", "| discount gamma | 0.9 |"):
        assert part in text
    told = figures["calibration"]
    assert f"T = {told['temperature']:.3f}, fitted on {told['problems_fitted']} held-out" in text
    assert f"from {told['problems']} other held-out problems" in text
    for row in figures["heldout"]:
        assert f"| {row['step']} | {row['n']} |" in text and f"{row['auc_truth']:.3f}" in text
    assert text.count("\n| 0.") == len(figures["reliability"])
    assert "| first | exact Q\\* |" in text and "| first | labels |" in text
    for date_or_time in (str(folder()), head["created"][:10], "seconds"):
        assert date_or_time not in text


def test_its_three_lines_give_the_scores_of_qstar(
    model: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = text.split("```python\n")[1].split("\n```")[0]
    assert len(lines.splitlines()) == 3
    problems = {p.id: p for p in read_problems(inputs(model, head_of(model))["problems"], "train")}
    labels = pl.read_parquet(dataset.data_files(inputs(model, head_of(model))["labels"]))
    told = pl.read_parquet(dataset.data_files(model)).filter(pl.col("step_index") == 1)
    monkeypatch.chdir(model)
    for row in told.unique("action_id").sort("action_id").head(3).iter_rows(named=True):
        [action] = labels.filter(
            rollout_id=row["rollout_id"], step_index=row["step_index"], ended=False
        )["action"]
        asked = problems[row["problem_id"]].prompt + action
        found: dict[str, Any] = {"text": asked}
        exec(lines, found)
        [score] = TransformersValue(Path(model), "float64", "cpu", 8).score([asked], [False])
        assert found["q"] == pytest.approx(score, abs=1e-5)
        assert found["q"] == pytest.approx(row["q"], abs=1e-5)


def test_what_is_not_known_is_said(model: str) -> None:
    figures = head_of(model)["figures"]
    none = {**figures["calibration"], "method": "none", "problems_fitted": 0}
    assert "None; all figures are from" in rendered(model, calibration=none)
    skipped = {**none, "method": "platt", "skipped": "3 held-out <b>"}
    text = rendered(model, calibration=skipped)
    assert "None was fitted: 3 held-out \\<b\\>" in text and "No licence is stated" in text
    platt = {**none, "method": "platt", "skipped": "", "shift": -0.25}
    assert f", shift {MINUS}0.250, fitted on" in rendered(model, calibration=platt)
    unknown = [{**row, "auc_truth": None} for row in figures["heldout"]]
    text = rendered(model, heldout=unknown, overall={**figures["overall"], "auc_truth": None})
    assert "| AUC, exact Q" not in text and "AUC, labels" in text


def test_a_licence_of_the_base_model_goes_before_that_of_the_data(model: str) -> None:
    assert "licence" not in (dataset.read_manifest(model) or {})["figures"]
    about = CardConfig(licence="CC0-1.0", description="For *tests*.")
    head = {**head_of(model), "licence": "mit"}
    text = model_card(head, about, inputs(model, head))
    assert "license: mit\n" in text and "Licence: mit." in text and "For *tests*." in text


def test_the_calibration_is_part_of_the_key_and_rows_have_the_discount(model: str) -> None:
    other = pipeline.plan(config_of(folder(), calibration="none"))["qvm"].uri
    assert other != model
    exact = pl.read_parquet(dataset.data_files(model))["q_star"].unique().sort().to_list()
    assert exact == [0.0, 0.9, 1.0]


def test_a_reward_model_has_a_card_too() -> None:
    model = trained_prm()
    text = (Path(model) / NAME).read_text(encoding="utf-8")
    head = head_of(model)
    assert rendered(model, CardConfig(licence="Apache-2.0")) == text
    data = ModelCard.load(Path(model) / NAME).data
    assert data.license == "apache-2.0" and data.pipeline_tag == "token-classification"
    assert "process-reward-model" in data.tags and "value-model" not in data.tags
    [first, *_] = head["figures"]["heldout"]
    values = {result.metric_name: result.metric_value for result in data.eval_results}
    assert values["Brier score, first steps"] == first["brier"]
    assert values["AUC against labels, first steps"] == first["auc_label"]
    for row in head["figures"]["heldout"]:
        assert f"| {row['step']} | {row['n']} |" in text
    for part in (
        "# Process reward model: countdown",
        head["inputs"]["labels_prm"],
        "mean\\_of\\_rollouts",
        "hard estimation: right where more than 0 of the samples succeed",
        "qstar train-prm CONFIG",
        *WORDS["prm"]["limits"],
    ):
        assert part in text
    assert "Q-value" not in text and "discount" not in text


def test_the_three_lines_of_a_reward_model_give_its_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained_prm()
    lines = (Path(model) / NAME).read_text(encoding="utf-8").split("```python\n")[1]
    monkeypatch.chdir(model)
    found: dict[str, Any] = {"text": "6 3 2 > 12\n6 * 2 = 12 | 12 3 > 12\n"}
    exec(lines.split("\n```")[0], found)
    [score] = TransformersValue(Path(model), "float64", "cpu", 8).score([found["text"]], [False])
    assert found["right"] == pytest.approx(score, abs=1e-5)


def test_a_reward_model_of_annotations_says_so(tmp_path: Path) -> None:
    run = run_of(tmp_path, OTHER, neutral="wrong")
    manifest = make_on_annotations(run, "problems", "annotations", "prm")
    text = (Path(manifest["uri"]) / NAME).read_text(encoding="utf-8")
    for part in ("neutral steps count as wrong", manifest["inputs"]["annotations"], "| 50.0 % |"):
        assert part in text
