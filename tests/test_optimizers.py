"""Muon in float32 beside PyTorch's own, which orthogonalises in bfloat16."""

from __future__ import annotations

import pytest
import torch

from qstar_core import optimizers
from qstar_core.optimizers import MuonInFloat32, build_optimizers, orthogonal

SETTINGS = {
    "lr": 0.02,
    "momentum": 0.95,
    "weight_decay": 0.1,
    "adjust_lr_fn": "match_rms_adamw",
}
FACTORS = (3.4445, -4.7750, 2.0315)  # torch's defaults


@pytest.mark.parametrize("shape", [(8, 8), (8, 20), (20, 8)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    found = orthogonal(matrix, FACTORS, 5, 1e-7)
    assert found.shape == matrix.shape and found.dtype == torch.float32
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3 and values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    near = torch.nn.functional.cosine_similarity(found.flatten(), (left @ right).flatten(), 0)
    assert near > 0.95


def test_of_nothing_nothing_comes() -> None:
    assert orthogonal(torch.zeros(3, 4), FACTORS, 5, 1e-7).eq(0).all()


@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (48, 16)])
def test_updates_are_those_of_torch_but_for_its_rounding(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    start, gradients = torch.randn(shape), torch.randn(6, *shape)
    ended, moved = [], []
    for kind in (torch.optim.Muon, MuonInFloat32):
        weights = torch.nn.Parameter(start.clone())
        optimizer = kind([weights], **SETTINGS)
        for gradient in gradients:
            weights.grad = gradient.clone()
            optimizer.step()
        ended.append(weights.detach())
        moved.append(optimizer.state_dict()["state"][0]["momentum_buffer"])
    travelled = (ended[0] - start).norm()
    assert (ended[0] - ended[1]).norm() < 0.02 * travelled  # bfloat16 has 8 bits
    torch.testing.assert_close(moved[0], moved[1])


def test_one_goes_on_from_the_state_of_the_other() -> None:
    weights = torch.nn.Parameter(torch.ones(4, 4))
    weights.grad = torch.eye(4)
    first = torch.optim.Muon([weights], **SETTINGS)
    first.step()
    second = MuonInFloat32([weights], **SETTINGS)
    second.load_state_dict(first.state_dict())
    second.step()
    assert second.state_dict()["param_groups"] == first.state_dict()["param_groups"]


def test_weights_without_a_gradient_stay() -> None:
    weights = torch.nn.Parameter(torch.ones(4, 4))
    MuonInFloat32([weights], **SETTINGS).step()
    assert weights.eq(1).all()


@pytest.mark.parametrize("products", [True, False])
def test_the_hardware_decides(monkeypatch: pytest.MonkeyPatch, products: bool) -> None:
    monkeypatch.setattr(optimizers, "multiplies_bf16", lambda device: products)
    layer = torch.nn.ModuleDict({"layers": torch.nn.Linear(4, 4)})
    model = torch.nn.ModuleDict({"model": layer, "head": torch.nn.Linear(4, 1)})
    muon, adamw = build_optimizers(model, 0.01, 0.0)
    assert type(muon) is (torch.optim.Muon if products else MuonInFloat32)
    assert type(adamw) is torch.optim.AdamW
