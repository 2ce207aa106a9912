from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy.stats import chisquare

from qstar_core.adaptive.policy import (
    NAME,
    WEIGHTS,
    ConfigPolicy,
    draw_factors,
    taken_of,
)
from qstar_core.config_adaptive import Annealing
from qstar_core.errors import UserError
from qstar_core.keys import sample_seed
from tests.adaptive.bandits import space_of

SEEDS = np.array([sample_seed(0, "q", k) for k in range(20_000)], dtype=np.uint64)


def trained(*widths: int, width: int = 4, hidden: tuple[int, ...] = (8,)) -> ConfigPolicy:
    """A policy whose heads are not zero."""
    policy = ConfigPolicy(space_of(*widths), width, hidden)
    generator = torch.Generator().manual_seed(1)
    for parameter in policy.heads.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return policy


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.integers(1, 5),
    st.floats(0.05, 10),
    st.integers(0, 1000),
)
def test_propensities_are_probabilities(widths: list[int], n: int, tau: float, seed: int) -> None:
    policy = trained(*widths)
    x = np.random.default_rng(seed).normal(size=(n, 4))
    probabilities = policy.probabilities(x, tau)
    for p, width in zip(probabilities, widths, strict=True):
        assert p.shape == (n, width) and (p >= 0).all()
        np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-12)
    everything = np.array(list(policy.space.all_actions()))
    rows = np.repeat(x[:1], len(everything), axis=0)
    total = policy.propensities(rows, everything, tau).sum()
    assert total == pytest.approx(1.0)
    seeds = SEEDS[seed : seed + n]
    drawn = policy.draw(x, seeds, tau)
    policy.space.check(drawn.actions)
    assert drawn.propensities is not None and (drawn.propensities > 0).all()
    whole = policy.propensities(x, drawn.actions, tau)
    np.testing.assert_allclose(drawn.propensities.prod(axis=1), whole)


@given(st.lists(st.lists(st.floats(0.01, 1), min_size=2, max_size=5), min_size=1, max_size=3))
def test_values_are_drawn_as_often_as_they_are_probable(weights: list[list[float]]) -> None:
    rows = [np.array(w) / np.sum(w) for w in weights]
    drawn = draw_factors([np.tile(p, (len(SEEDS), 1)) for p in rows], SEEDS)
    for j, p in enumerate(rows):
        counts = np.bincount(drawn.actions[:, j], minlength=len(p))
        assert chisquare(counts, p * len(SEEDS)).pvalue > 1e-6
    if len(rows) > 1:  # independent: the joint frequencies are products
        joint = np.zeros((len(rows[0]), len(rows[1])))
        np.add.at(joint, (drawn.actions[:, 0], drawn.actions[:, 1]), 1)
        wanted = np.outer(rows[0], rows[1]) * len(SEEDS)
        assert chisquare(joint.ravel(), wanted.ravel()).pvalue > 1e-6


def test_a_value_without_probability_is_never_drawn() -> None:
    p = np.tile([0.0, 0.5, 0.0, 0.5, 0.0], (len(SEEDS), 1))
    assert set(draw_factors([p], SEEDS).actions[:, 0].tolist()) == {1, 3}


def test_an_action_depends_on_its_seed_and_not_on_the_batch() -> None:
    policy = trained(5, 4, 7)
    x = np.random.default_rng(0).normal(size=(50, 4))
    together = policy.draw(x, SEEDS[:50], 0.7)
    order = np.random.default_rng(1).permutation(50)
    mixed = policy.draw(x[order], SEEDS[:50][order], 0.7)
    assert (mixed.actions == together.actions[order]).all()
    alone = policy.draw(x[3:4], SEEDS[3:4], 0.7)
    assert (alone.actions == together.actions[3:4]).all()


def test_a_fresh_policy_is_uniform_and_leaves_the_global_stream_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    policy = ConfigPolicy(space_of(3, 10), 4, seed=1)
    assert torch.equal(torch.rand(1), expected)
    first, second = policy.probabilities(np.random.default_rng(0).normal(size=(2, 4)))
    np.testing.assert_allclose(first, 1 / 3)
    np.testing.assert_allclose(second, 1 / 10)


def test_the_best_is_the_most_probable_of_all_configurations() -> None:
    policy = trained(4, 3, 5)
    x = np.random.default_rng(2).normal(size=(6, 4))
    everything = np.array(list(policy.space.all_actions()))
    for row, best in zip(x, policy.best(x), strict=True):
        chances = policy.propensities(np.tile(row, (len(everything), 1)), everything)
        assert tuple(everything[chances.argmax()]) == tuple(best)


@given(st.floats(0.1, 3), st.floats(0.9, 1), st.integers(0, 500))
def test_tau_falls_geometrically_to_its_floor(tau_0: float, alpha: float, k: int) -> None:
    annealing = Annealing(tau_0=tau_0, alpha=alpha, floor=0.1)
    assert annealing.tau(0) == tau_0
    assert annealing.tau(k) == max(0.1, tau_0 * alpha**k)


def test_a_high_tau_explores_and_a_low_one_does_not() -> None:
    policy = trained(6)
    x = np.random.default_rng(3).normal(size=(10, 4))
    hot, cold = policy.probabilities(x, 1e6)[0], policy.probabilities(x, 1e-3)[0]
    np.testing.assert_allclose(hot, 1 / 6, atol=1e-4)
    assert (cold.argmax(axis=1) == policy.best(x)[:, 0]).all()
    assert cold.max(axis=1).min() > 0.99


def test_the_input_is_standardised_and_a_constant_does_no_harm(tmp_path: Path) -> None:
    policy = trained(3)
    x = np.random.default_rng(4).normal(5.0, 3.0, size=(100, 4))
    x[:, 2] = 7.0
    policy.standardise(x)
    np.testing.assert_allclose(policy.shift.numpy(), x.mean(axis=0))  # type: ignore[operator]
    assert float(policy.scale[2]) == 1.0  # type: ignore[index, arg-type]
    assert np.isfinite(policy.probabilities(x)[0]).all()


@pytest.mark.parametrize("hidden", [(), (8,), (8, 6)])
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path, hidden: tuple[int, ...]) -> None:
    policy = trained(5, 4, hidden=hidden)
    x = np.random.default_rng(5).normal(size=(9, 4))
    policy.standardise(x)
    policy.save(tmp_path)
    again = ConfigPolicy.load(tmp_path)
    assert again.space == policy.space and again.fingerprint == policy.fingerprint
    for a, b in zip(policy.probabilities(x), again.probabilities(x), strict=True):
        assert (a == b).all()
    with torch.no_grad():
        next(again.heads.parameters())[0, 0] += 1e-12
    assert again.fingerprint != policy.fingerprint


def test_an_embedding_of_the_wrong_width_or_with_nan_is_refused() -> None:
    policy = trained(3)
    with pytest.raises(UserError, match=r"width 4, these have the shape \(2, 5\)"):
        policy.probabilities(np.zeros((2, 5)))
    with pytest.raises(UserError, match="width 4"):
        policy.best(np.zeros(4))
    x = np.zeros((3, 4))
    x[1, 2] = np.nan
    with pytest.raises(UserError, match="question 1"):
        policy.draw(x, SEEDS[:3])


@pytest.mark.parametrize(
    "harm",
    ["no weights", "no config", "cut weights", "no json", "other space", "other width", "list"],
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, harm: str) -> None:
    policy = trained(3, 2)
    policy.save(tmp_path)
    config, weights = tmp_path / f"{NAME}.json", tmp_path / WEIGHTS
    content = json.loads(config.read_text(encoding="utf-8"))
    if harm == "no weights":
        weights.unlink()
    elif harm == "no config":
        config.unlink()
    elif harm == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif harm == "no json":
        config.write_text("{", encoding="utf-8")
    elif harm == "other space":
        content["space"]["factors"][0]["values"] = [5, 6, 7]
        config.write_text(json.dumps(content), encoding="utf-8")
    elif harm == "other width":
        content["width"] = 5
        config.write_text(json.dumps(content), encoding="utf-8")
    else:
        config.write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="no configuration policy can be read from"):
        ConfigPolicy.load(tmp_path)


def test_weights_of_other_names_are_refused(tmp_path: Path) -> None:
    trained(3).save(tmp_path)
    save_file({"other": torch.zeros(1)}, tmp_path / WEIGHTS)
    with pytest.raises(UserError, match="no configuration policy"):
        ConfigPolicy.load(tmp_path)


def test_the_probability_that_was_taken() -> None:
    p = [np.array([[0.1, 0.9], [0.4, 0.6]]), np.array([[1.0], [1.0]])]
    taken = taken_of(p, np.array([[1, 0], [0, 0]]))
    assert taken.tolist() == [[0.9, 1.0], [0.4, 1.0]]
