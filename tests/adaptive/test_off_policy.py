"""Estimates of a policy from another's episodes: against the truth, and their intervals."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from qstar_core.adaptive.actions import Drawn
from qstar_core.adaptive.baselines import uniform
from qstar_core.adaptive.episodes import Batch, Result, to_table
from qstar_core.adaptive.off_policy import (
    Estimate,
    Logged,
    deterministic,
    doubly_robust,
    effective,
    fixed,
    from_table,
    ips,
    snips,
    weights,
)
from qstar_core.adaptive.policy import Probabilities, draw_factors
from qstar_core.errors import UserError
from tests.adaptive.bandits import space_of

Array = npt.NDArray[np.float64]
SPACE = space_of(3, 4)
REPETITIONS = 500
WORLD = np.random.default_rng(12)
EFFECTS = [WORLD.normal(size=(3, w)) for w in SPACE.widths]
TASTES = [WORLD.normal(size=(3, w)) for w in SPACE.widths]


def softmax(logits: Array) -> Array:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def behaviour(x: Array) -> Probabilities:
    return [softmax(0.5 * x @ taste) for taste in TASTES]


def target(x: Array) -> Probabilities:
    return [softmax(1.0 * x @ effect) for effect in EFFECTS]


def chance(x: Array, actions: npt.NDArray[np.int64]) -> Array:
    """P(success | question, action): not linear, so that the model of the reward is wrong."""
    rows = np.arange(len(x))
    parts = [(x @ e)[rows, actions[:, j]] for j, e in enumerate(EFFECTS)]
    return np.asarray(1 / (1 + np.exp(-(parts[0] + parts[1] + 0.5 * parts[0] * parts[1]))))


def seeds(rng: np.random.Generator, n: int) -> npt.NDArray[np.uint64]:
    return rng.integers(2**62, size=n).astype(np.uint64)


def episodes(rng: np.random.Generator, questions: int, each: int) -> tuple[Logged, Array]:
    """Episodes of some questions, several of each, drawn by `behaviour`; and their embeddings."""
    x = np.repeat(rng.normal(size=(questions, 3)), each, axis=0)
    drawn = draw_factors(behaviour(x), seeds(rng, len(x)))
    assert drawn.propensities is not None
    rewards = (rng.random(len(x)) < chance(x, drawn.actions)).astype(float)
    ids = [f"q{k}" for k in range(questions) for _ in range(each)]
    return Logged(ids, drawn.actions, drawn.propensities.prod(axis=1), rewards), x


def truth(n: int = 200_000) -> float:
    """The target's expected reward, exactly over actions and nearly over questions."""
    x = np.random.default_rng(99).normal(size=(n, 3))
    first, second = target(x)
    total = np.zeros(n)
    for a, b in SPACE.all_actions():
        total += first[:, a] * second[:, b] * chance(x, np.tile([a, b], (n, 1)))
    return float(total.mean())


def repeated(questions: int, each: int) -> dict[str, list[Estimate]]:
    found: dict[str, list[Estimate]] = {"ips": [], "snips": [], "dr": []}
    for number in range(REPETITIONS):
        logged, x = episodes(np.random.default_rng(number), questions, each)
        wanted = target(x)
        found["ips"].append(ips(logged, wanted))
        found["snips"].append(snips(logged, wanted))
        found["dr"].append(doubly_robust(logged, wanted, x))
    return found


@pytest.mark.parametrize(("questions", "each"), [(400, 1), (200, 3)])
def test_intervals_cover_the_truth_at_their_nominal_rate(questions: int, each: int) -> None:
    value = truth()
    low, high = binom.interval(0.999, REPETITIONS, 0.95)
    widths = {}
    for name, found in repeated(questions, each).items():
        covered = sum(e.low <= value <= e.high for e in found)
        assert low <= covered <= high, (name, covered)
        values = np.array([e.value for e in found])
        error = values.std() / math.sqrt(REPETITIONS)
        assert abs(values.mean() - value) < 4 * error + 0.002, name
        widths[name] = np.mean([e.high - e.low for e in found])
    assert max(widths["dr"], widths["snips"]) < 0.6 * widths["ips"]


def test_a_good_model_of_the_reward_narrows_the_doubly_robust_interval() -> None:
    logged, x = episodes(np.random.default_rng(0), 400, 1)
    rows = np.arange(len(x))
    parts = [(x @ e)[rows, logged.actions[:, j]] for j, e in enumerate(EFFECTS)]
    linear = 0.5 + 0.05 * (parts[0] + parts[1])
    known = Logged(logged.question_ids, logged.actions, logged.propensities, linear)
    wanted = target(x)
    true = 0.5 + 0.05 * sum((p * (x @ e)).sum(axis=1) for p, e in zip(wanted, EFFECTS, strict=True))
    model, plain = doubly_robust(known, wanted, x, ridge=1e-3), snips(known, wanted)
    assert model.high - model.low < 0.5 * (plain.high - plain.low)
    assert model.value == pytest.approx(true.mean(), abs=1e-3)


def test_intervals_that_take_episodes_for_independent_would_be_too_narrow() -> None:
    """What the questions' clusters are for: many episodes of few questions."""
    value, covered, naive = truth(), 0, 0
    for number in range(REPETITIONS):
        logged, x = episodes(np.random.default_rng(number), 40, 25)
        alone = Logged(list(map(str, range(1000))), *_columns(logged))
        wanted = target(x)
        both = snips(logged, wanted), snips(alone, wanted)
        covered += both[0].low <= value <= both[0].high
        naive += both[1].low <= value <= both[1].high
    assert naive < 0.9 * REPETITIONS
    assert covered > naive


def _columns(logged: Logged) -> tuple[npt.NDArray[np.int64], Array, Array]:
    return logged.actions, logged.propensities, logged.rewards


@given(st.integers(0, 10_000))
def test_on_policy_all_estimates_are_the_mean(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logged, x = episodes(rng, 30, 1)
    mean = logged.rewards.mean()
    own = behaviour(x)
    assert np.allclose(weights(logged, own), 1.0)
    assert ips(logged, own).value == pytest.approx(mean)
    assert snips(logged, own).value == pytest.approx(mean)
    assert ips(logged, own).ess == pytest.approx(30)
    assert -0.5 < doubly_robust(logged, own, x).value < 1.5


@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_snips_shifts_with_the_rewards_and_ips_does_not(seed: int, shift: float) -> None:
    logged, x = episodes(np.random.default_rng(seed), 20, 1)
    moved = Logged(logged.question_ids, logged.actions, logged.propensities, logged.rewards + shift)
    wanted = target(x)
    assert snips(moved, wanted).value == pytest.approx(snips(logged, wanted).value + shift)
    mass = weights(logged, wanted).mean()
    assert ips(moved, wanted).value == pytest.approx(ips(logged, wanted).value + mass * shift)


def test_a_fixed_configuration_is_judged_by_the_episodes_that_took_it() -> None:
    rng = np.random.default_rng(0)
    n, action = 4000, (1, 2)
    x = rng.normal(size=(n, 3))
    drawn = draw_factors(uniform(SPACE, n), seeds(rng, n))
    rewards = (rng.random(n) < chance(x, drawn.actions)).astype(float)
    logged = Logged(list(map(str, range(n))), drawn.actions, np.full(n, 1 / 12), rewards)
    took = (drawn.actions == action).all(axis=1)
    wanted = fixed(SPACE, action, n)
    estimate = snips(logged, wanted)
    assert estimate.value == pytest.approx(rewards[took].mean())
    assert estimate.ess == pytest.approx(took.sum()) and estimate.trusted
    true = chance(x, np.tile(action, (n, 1))).mean()
    for found in (estimate, ips(logged, wanted), doubly_robust(logged, wanted, x)):
        assert found.low - 0.02 < true < found.high + 0.02
    same = deterministic(SPACE, np.tile(action, (n, 1)))
    assert all((a == b).all() for a, b in zip(same, wanted, strict=True))


def test_a_configuration_that_was_never_tried_has_no_estimate() -> None:
    logged = Logged(["a", "b"], np.array([[0, 0], [0, 1]]), np.ones(2) / 12, np.ones(2))
    wanted = fixed(SPACE, (2, 3), 2)
    for found in (
        ips(logged, wanted),
        snips(logged, wanted),
        doubly_robust(logged, wanted, np.zeros((2, 1))),
    ):
        assert math.isnan(found.value) and math.isnan(found.low) and math.isnan(found.high)
        assert found.ess == 0 and not found.trusted and found.episodes == 2


def test_one_question_has_no_interval() -> None:
    logged = Logged(["a", "a"], np.array([[0, 0], [0, 1]]), np.ones(2) / 12, np.array([0.0, 1.0]))
    found = snips(logged, uniform(SPACE, 2))
    assert found.value == pytest.approx(0.5) and math.isnan(found.low)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30))
def test_the_effective_sample_size_is_at_most_the_number_of_episodes(w: list[float]) -> None:
    ess = effective(np.array(w))
    assert 1 - 1e-9 <= ess <= len(w) + 1e-9
    assert effective(np.ones(len(w))) == pytest.approx(len(w))


@pytest.mark.parametrize(
    ("propensities", "rewards", "said"),
    [
        ([0.0, 0.5], [1.0, 1.0], "propensity"),
        ([math.nan, 0.5], [1.0, 1.0], "propensity"),
        ([0.5, 1.5], [1.0, 1.0], "propensity"),
        ([0.5, 0.5], [1.0, math.nan], "reward"),
        ([0.5, 0.5], [1.0], "equally many"),
        ([], [], "equally many"),
    ],
)
def test_episodes_that_cannot_be_judged_by(
    propensities: list[float], rewards: list[float], said: str
) -> None:
    n = len(propensities)
    actions = np.zeros((n, 2), dtype=np.int64)
    with pytest.raises(UserError, match=said):
        Logged(["a"] * n, actions, np.array(propensities), np.array(rewards))


def test_stored_episodes_are_read_without_those_that_are_not_known() -> None:
    actions = np.array([[0, 1], [2, 3], [1, 1], [0, 0]])
    chances = np.array([[0.5, 0.25], [0.1, 0.1], [0.2, 0.5], [1.0, 1.0]])
    ids, seed = ("a", "b", "c", "a"), np.arange(4, dtype=np.uint64)
    batch = Batch(0, ids, np.arange(4), seed, 1.0, Drawn(actions, chances), "p")
    results = [
        Result(1.0, "correct", 10),
        Result(None, "timeout", 10),
        Result(0.5, "scored", None),
        Result(0.0, "wrong", 20),
    ]
    table = to_table(SPACE, batch, results)
    logged, rows = from_table(table)
    assert rows.tolist() == [0, 2, 3] and list(logged.question_ids) == ["a", "c", "a"]
    assert logged.propensities.tolist() == pytest.approx([0.125, 0.1, 1.0])
    assert logged.rewards.tolist() == [1.0, 0.5, 0.0]
    assert (logged.actions == actions[[0, 2, 3]]).all()
    priced, rows = from_table(table, price=0.01)
    assert rows.tolist() == [0, 3] and priced.rewards.tolist() == pytest.approx([0.9, -0.2])
    unknown = Batch(0, ids, np.arange(4), seed, 1.0, Drawn(actions, None), "p")
    with pytest.raises(UserError, match="none of 4 episodes has reward, propensities"):
        from_table(to_table(SPACE, unknown, results))
