"""bfloat16 where the hardware multiplies it, float32 elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qstar_core import precision
from qstar_core.training import checkpoints
from tests.values.labelled import train


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Says whether this machine multiplies bfloat16."""

    def has(products: bool) -> None:
        monkeypatch.setattr(precision, "multiplies_bf16", lambda device: products)

    return has


def test_a_cpu_is_asked_by_its_own_library() -> None:
    assert precision.multiplies_bf16("cpu") is bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def test_without_the_library_there_are_no_such_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not precision.multiplies_bf16("cpu")


@pytest.mark.parametrize("products", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_asked_for_and_there(hardware: Callable[[bool], None], asked: bool, products: bool) -> None:
    hardware(products)
    assert precision.computes_in_bf16(asked) is (asked and products)


def test_a_training_says_what_it_computed_in(
    hardware: Callable[[bool], None], tmp_path: Path
) -> None:
    """Without such products it has the weights of one that never asked for them."""
    found = {}
    for name, asked, products in (("plain", False, True), ("emulated", True, False)):
        hardware(products)
        figures = train(tmp_path / name, epochs=0.5, bf16=asked)
        assert figures["bf16"] is False
        found[name] = (tmp_path / name / "model.safetensors").read_bytes()
    assert found["emulated"] == found["plain"]
    hardware(True)
    assert train(tmp_path / "bf16", epochs=0.5, bf16=True)["bf16"] is True


def test_no_checkpoint_is_gone_on_from_in_another_precision(
    hardware: Callable[[bool], None], tmp_path: Path
) -> None:
    place = tmp_path / "checkpoint-1"
    place.mkdir()
    hardware(True)
    checkpoints.seal(place, {"best": None})
    assert checkpoints.newest(tmp_path)[0] == place
    hardware(False)
    found, _, remarks = checkpoints.newest(tmp_path)
    assert found is None and "another device" in remarks[0]
