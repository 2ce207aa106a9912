from __future__ import annotations

import math

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.labels.steps import wilson
from qstar_core.values.losses import Batch, interval_weight, loss_sum, mean_loss, pairs

KINDS = ("mse", "bce", "ranking")
STEPS = st.lists(
    st.tuples(
        st.floats(-8, 8, width=32),  # logit
        st.sampled_from([0.0, 0.25, 0.5, 1.0]),  # label
        st.floats(0.125, 8, width=32),  # weight
        st.integers(0, 2),  # group
    ),
    min_size=1,
    max_size=12,
)


def batch_of(targets: list[float], weights: list[float], groups: list[int]) -> Batch:
    better, worse = pairs(groups, targets)
    return {
        "targets": torch.tensor(targets),
        "weights": torch.tensor(weights),
        "better": torch.tensor(better, dtype=torch.long),
        "worse": torch.tensor(worse, dtype=torch.long),
    }


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def slow(kind: str, z: list[float], y: list[float], w: list[float], group: list[int]) -> float:
    """The formulas of the module, term by term; the mean."""
    terms = []
    if kind == "ranking":
        for i in range(len(z)):
            for j in range(len(z)):
                if group[i] == group[j] and y[i] > y[j]:
                    terms.append((w[i] * w[j], -math.log(sigmoid(z[i] - z[j]))))
    for k in range(len(z)):
        s = sigmoid(z[k])
        if kind == "mse":
            terms.append((w[k], (s - y[k]) ** 2))
        if kind == "bce":
            terms.append((w[k], -y[k] * math.log(s) - (1 - y[k]) * math.log(1 - s)))
    total = sum(weight for weight, _ in terms)
    return sum(weight * loss for weight, loss in terms) / total if total else 0.0


@pytest.mark.parametrize("kind", KINDS)
@given(STEPS)
def test_losses_are_what_the_formulas_say(
    kind: str, steps: list[tuple[float, float, float, int]]
) -> None:
    z, y, w, group = (list(column) for column in zip(*steps, strict=True))
    found = mean_loss(kind, torch.tensor(z), batch_of(y, w, group))
    assert float(found) == pytest.approx(slow(kind, z, y, w, group), rel=1e-4, abs=1e-5)


def test_by_hand() -> None:
    """Logits 0 and ln 3: s = 1/2 and 3/4; weights 1 and 3; labels 1 and 0."""
    z, batch = torch.tensor([0.0, math.log(3)]), batch_of([1.0, 0.0], [1.0, 3.0], [5, 5])
    assert float(mean_loss("mse", z, batch)) == pytest.approx((1 / 4 + 3 * 9 / 16) / 4)
    assert float(mean_loss("bce", z, batch)) == pytest.approx((math.log(2) + 3 * math.log(4)) / 4)
    # one pair, the first better: -ln sigmoid(-ln 3) = ln 4
    assert float(mean_loss("ranking", z, batch)) == pytest.approx(math.log(4))
    assert float(loss_sum("ranking", z, batch)) == pytest.approx(3 * math.log(4))


def test_pairs_are_of_one_group_and_of_different_labels() -> None:
    better, worse = pairs(["a", "a", "b", "a", "b"], [0.0, 1.0, 0.5, 0.0, 0.5])
    assert list(zip(better, worse, strict=True)) == [(1, 0), (1, 3)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_anything_to_learn_has_a_gradient_of_zero(kind: str) -> None:
    z = torch.zeros(2, requires_grad=True)
    mean_loss(kind, z, batch_of([0.5, 0.5], [1.0, 1.0], [0, 0])).backward()
    assert z.grad is not None and z.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["bce", "mse"])
def test_a_weight_counts_like_so_many_equal_rows(kind: str) -> None:
    logits, targets = torch.tensor([0.3, -1.2, 2.0]), torch.tensor([1.0, 0.0, 0.0])
    weighted = {"targets": targets, "weights": torch.tensor([1.0, 3.0, 1.0])}
    rows = torch.tensor([0, 1, 1, 1, 2])
    repeated = {"targets": targets[rows], "weights": torch.ones(5)}
    assert mean_loss(kind, logits, weighted).item() == pytest.approx(
        mean_loss(kind, logits[rows], repeated).item()
    )


def test_weights_by_interval() -> None:
    assert interval_weight(0.25, 0.75) == 4.0


@given(st.integers(1, 200), st.data())
def test_more_samples_weigh_more(samples: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, samples))
    counts = pl.DataFrame({"n": [samples, 4 * samples], "k": [right, 4 * right]})
    bounds = counts.select(**wilson(pl.col("n"), pl.col("k"))).rows()
    few, many = (interval_weight(low, high) for low, high in bounds)
    assert many > few > 1
