from __future__ import annotations

from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from transformers import (
    AutoModelForTokenClassification,
    GPT2Config,
    GPT2ForTokenClassification,
    LlamaForTokenClassification,
    Qwen2Config,
    Qwen2ForTokenClassification,
)

from qstar_core.errors import UserError
from qstar_core.values.calibration import (
    MOST,
    Calibration,
    cross_entropy,
    fit,
    fits,
    logits,
    scale_head,
)
from qstar_core.values.metrics import calibration_error
from tests.models import tiny_qvm

RNG = np.random.default_rng(1)
TRUE = RNG.normal(0, 2, 20_000)
"""Logits of probabilities that are right."""
SEEN = (RNG.random(20_000) < expit(TRUE)).astype(float)


def test_the_temperature_of_an_overconfident_model_is_found() -> None:
    q = expit(2.5 * TRUE)
    found = fit(q, SEEN, "temperature")
    assert 1 / found.slope == pytest.approx(2.5, rel=0.05) and found.shift == 0
    assert calibration_error(found.apply(q), SEEN) < 0.015 < calibration_error(q, SEEN)


def test_platt_scaling_finds_a_shift_that_no_temperature_mends() -> None:
    q = expit(1.5 * TRUE + 2.0)
    found = fit(q, SEEN, "platt")
    assert found.slope == pytest.approx(1 / 1.5, rel=0.05)
    assert found.shift == pytest.approx(-2.0 / 1.5, rel=0.05)
    by_temperature = fit(q, SEEN, "temperature").apply(q)
    assert calibration_error(found.apply(q), SEEN) < 0.015 < calibration_error(by_temperature, SEEN)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12))
def test_no_other_temperature_is_better_and_the_order_stays(
    rows: list[tuple[float, float]],
) -> None:
    q, y = (np.array(column) for column in zip(*rows, strict=True))
    found = fit(q, y, "temperature")
    if found.skipped:
        assert len(set(y)) == 1
        return
    best = cross_entropy(found.slope * logits(q), y)
    for temperature in np.geomspace(1 / MOST, MOST, 41):
        assert best <= cross_entropy(logits(q) / temperature, y) + 1e-4
    both = fit(q, y, "platt")
    assert cross_entropy(both.slope * logits(q) + both.shift, y) <= best + 1e-4
    for calibration in (found, both):
        after = calibration.apply(q)
        assert np.all((after >= 0) & (after <= 1))
        assert np.all(np.diff(after[np.argsort(q)]) >= 0)


def test_extremes_stay_finite_and_equal_labels_fit_nothing() -> None:
    assert np.all(np.isfinite(Calibration("temperature", 0.5).apply(np.array([0.0, 1.0]))))
    found = fit(np.array([0.1, 0.9]), np.zeros(2), "temperature")
    assert not found.changes and "are equal" in found.to_dict()["skipped"]
    assert fit(np.array([0.1]), np.array([1.0]), "none") == Calibration()


def test_halves_are_by_hash() -> None:
    ids = [f"problem {k}" for k in range(400)]
    half = [fits(name, 0) for name in ids]
    assert 150 < sum(half) < 250
    assert half == [fits(name, 0) for name in ids] != [fits(name, 1) for name in ids]


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_plain_transformers_gives_calibrated_values(tmp_path: Path, method: str) -> None:
    folder = tmp_path / "qvm"
    copytree(tiny_qvm(), folder)
    ids = torch.arange(2, 12).reshape(1, -1)
    before = torch.sigmoid(_logits(folder, ids)).double().numpy()
    shift = -0.7 if method == "platt" else 0.0
    calibration = Calibration(method, 1 / 1.7, shift)  # type: ignore[arg-type]
    scale_head(folder, calibration)
    after = torch.sigmoid(_logits(folder, ids)).double().numpy()
    assert after == pytest.approx(calibration.apply(before), abs=1e-6)
    assert [f.name for f in folder.iterdir() if f.suffix == ".part"] == []


def _logits(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    model = AutoModelForTokenClassification.from_pretrained(folder)
    with torch.inference_mode():
        return model(ids).logits[0, :, 0]  # type: ignore[no-any-return]


SMALL = {"vocab_size": 40, "num_labels": 1, "pad_token_id": 0}


def saved(folder: Path, family: str, **how: object) -> Path:
    """A random model of a family."""
    torch.manual_seed(0)
    if family == "gpt2":
        gpt2 = GPT2Config(n_embd=32, n_layer=1, n_head=2, **SMALL)
        GPT2ForTokenClassification(gpt2).save_pretrained(folder, **how)
    else:
        shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
        qwen2 = Qwen2Config(**shape, **heads, **SMALL)
        Qwen2ForTokenClassification(qwen2).save_pretrained(folder, **how)
    return folder


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
@pytest.mark.parametrize("how", [{}, {"max_shard_size": "8KB"}], ids=["whole", "in shards"])
def test_heads_of_other_families_and_shards(tmp_path: Path, family: str, how: dict) -> None:  # type: ignore[type-arg]
    folder = saved(tmp_path / family, family, **how)
    assert (len(list(folder.glob("*.safetensors"))) > 1) == bool(how)
    ids = torch.arange(2, 12).reshape(1, -1)
    before = _logits(folder, ids)
    scale_head(folder, Calibration("temperature", 0.5))
    assert _logits(folder, ids).numpy() == pytest.approx(0.5 * before.numpy(), abs=1e-6)


def test_a_checkpoint_without_a_head_or_bias_is_said(tmp_path: Path) -> None:
    model = AutoModelForTokenClassification.from_pretrained(tiny_qvm())
    assert isinstance(model, LlamaForTokenClassification)
    model.score = torch.nn.Linear(model.config.hidden_size, 1, bias=False)
    model.save_pretrained(tmp_path / "no-bias")
    scale_head(tmp_path / "no-bias", Calibration("temperature", 0.5))
    with pytest.raises(UserError, match="no bias") as e:
        scale_head(tmp_path / "no-bias", Calibration("platt", 0.5, 0.1))
    assert "qvm.calibration=none" in e.value.next_step
    with pytest.raises(UserError, match="no file holds a head"):
        scale_head(tmp_path, Calibration("temperature", 0.5))
    scale_head(tmp_path, Calibration("temperature"))  # nothing to store
