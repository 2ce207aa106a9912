"""Sign and size of the gradient, baselines, and what a reward may be."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qstar_core.adaptive import reinforce
from qstar_core.adaptive.episodes import Result
from qstar_core.adaptive.policy import ConfigPolicy
from qstar_core.adaptive.reinforce import RunningMean
from qstar_core.config_adaptive import ReinforceConfig
from qstar_core.errors import UserError
from tests.adaptive.bandits import space_of

Array = npt.NDArray[np.float64]
STEP = 1e-6
ARMS = np.array([0.3, 0.8])  # expected reward of each arm


def expected_reward(weights: Array, x: Array, tau: float, rewards: Array) -> float:
    """J = sum_a pi(a | x) r(a) of a linear policy, in numpy alone; weights [arms, width + 1]."""
    logits = (weights[:, :-1] @ x + weights[:, -1]) / tau
    p = np.exp(logits - logits.max())
    return float((p / p.sum()) @ rewards)


def finite_differences(weights: Array, x: Array, tau: float, rewards: Array) -> Array:
    """The gradient of J, without autograd."""
    found = np.zeros_like(weights)
    for place in np.ndindex(*weights.shape):
        up, down = weights.copy(), weights.copy()
        up[place] += STEP
        down[place] -= STEP
        ends = [expected_reward(w, x, tau, rewards) for w in (up, down)]
        found[place] = (ends[0] - ends[1]) / (2 * STEP)
    return found


def two_armed(seed: int) -> tuple[ConfigPolicy, Array, Array]:
    """A linear policy with two arms, its weights [2, width + 1], and an embedding."""
    rng = np.random.default_rng(seed)
    policy, weights, x = (
        ConfigPolicy(space_of(2), 3, ()),
        rng.normal(size=(2, 4)),
        rng.normal(size=3),
    )
    with torch.no_grad():
        policy.heads[0].weight.copy_(torch.as_tensor(weights[:, :-1]))  # type: ignore[operator, union-attr]
        policy.heads[0].bias.copy_(torch.as_tensor(weights[:, -1]))  # type: ignore[operator, union-attr]
    return policy, weights, x


def gradient(policy: ConfigPolicy) -> Array:
    head = policy.heads[0]
    parts = [head.weight.grad.numpy(), head.bias.grad.numpy()[:, None]]  # type: ignore[union-attr, operator]
    return np.concatenate(parts, axis=1)


@given(st.integers(0, 10_000), st.floats(0.2, 3), st.floats(-2, 2))
def test_the_expected_gradient_is_minus_that_of_the_expected_reward(
    seed: int, tau: float, baseline: float
) -> None:
    policy, weights, x = two_armed(seed)
    chances = policy.probabilities(x[None], tau)[0][0]
    total = np.zeros((2, 4))
    for arm, chance in enumerate(chances):  # E over arms of the gradient of one episode's loss
        policy.zero_grad()
        log_probs = policy.log_probs(x[None], tau)
        advantage = np.array([ARMS[arm] - baseline])
        reinforce.surrogate(log_probs, np.array([[arm]]), advantage, 0.0).backward()
        total += chance * gradient(policy)
    np.testing.assert_allclose(-total, finite_differences(weights, x, tau, ARMS), atol=1e-6)


@pytest.mark.parametrize("arm", [0, 1])
@pytest.mark.parametrize("advantage", [0.7, -0.7])
def test_a_step_makes_a_rewarded_action_more_probable(arm: int, advantage: float) -> None:
    policy, _, x = two_armed(3)
    before = policy.probabilities(x[None])[0][0, arm]
    loss = reinforce.surrogate(
        policy.log_probs(x[None]), np.array([[arm]]), np.array([advantage]), 0.0
    )
    loss.backward()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter -= 0.01 * parameter.grad  # type: ignore[operator]
    after = policy.probabilities(x[None])[0][0, arm]
    assert (after > before) == (advantage > 0)


def test_the_loss_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.dirichlet(np.ones(w), size=3) for w in (2, 4)]
    actions, advantages = np.array([[0, 3], [1, 0], [1, 2]]), np.array([0.5, -0.2, 0.0])
    log_probs = [torch.as_tensor(np.log(p)) for p in rows]
    taken = [math.log(rows[0][i, a]) + math.log(rows[1][i, b]) for i, (a, b) in enumerate(actions)]
    spread = -sum((p * np.log(p)).sum() for p in rows) / 3
    expected = -np.mean(advantages * taken) - 0.1 * spread
    loss = reinforce.surrogate(log_probs, actions, advantages, 0.1)
    assert float(loss) == pytest.approx(expected)


def test_the_entropy_bonus_pulls_towards_uniform() -> None:
    policy, _, x = two_armed(4)
    before = float(reinforce.entropy(policy.log_probs(x[None])).detach())
    nothing = np.array([0.0])
    reinforce.surrogate(policy.log_probs(x[None]), np.array([[0]]), nothing, 1.0).backward()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter -= 0.05 * parameter.grad  # type: ignore[operator]
    assert float(reinforce.entropy(policy.log_probs(x[None])).detach()) > before


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 40))
def test_the_running_mean_is_the_mean_until_its_window_is_full(
    values: list[float], window: int
) -> None:
    mean = RunningMean(window)
    mean.add(np.array(values[:window]))
    assert mean.value == pytest.approx(np.mean(values[:window]))
    assert mean.count == min(window, len(values))
    mean.add(np.full(50 * window, 0.25))
    assert mean.value == pytest.approx(0.25, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4)), min_size=1, max_size=20))
def test_leave_one_out_is_the_mean_of_the_others(rows: list[tuple[float, int]]) -> None:
    worth = np.array([w for w, _ in rows])
    groups = np.unique([g for _, g in rows], return_inverse=True)[1]
    found = reinforce.leave_one_out(worth, groups)
    for k, group in enumerate(groups):
        others = [worth[m] for m in range(len(rows)) if groups[m] == group and m != k]
        assert found[k] == pytest.approx(np.mean(others) if others else worth[k])


@pytest.mark.parametrize("reward", [math.nan, 1.5, -0.1, math.inf])
def test_a_reward_outside_of_its_range_names_the_question(reward: float) -> None:
    results = [Result(0.5, "scored"), Result(reward, "scored")]
    with pytest.raises(UserError, match="question q-two is") as error:
        reinforce.utilities(("q-one", "q-two"), results, 0.0)
    assert "scale the rewards" in error.value.next_step and "weights" in error.value.safe


def test_utilities_are_rewards_minus_the_price_of_tokens() -> None:
    results = [Result(1.0, "correct", 30), Result(None, "timeout", 99), Result(0.0, "wrong", 50)]
    known, worth = reinforce.utilities(("a", "b", "c"), results, 0.01)
    assert known.tolist() == [0, 2]
    assert worth.tolist() == pytest.approx([0.7, -0.5])
    with pytest.raises(UserError, match="question d are not known"):
        reinforce.utilities(("d",), [Result(1.0, "correct")], 0.01)


@pytest.mark.parametrize(
    "wrong",
    [
        {"baseline": "leave_one_out"},
        {"per_question": 3, "batch_size": 50, "episodes": 300},
        {"per_question": 3, "batch_size": 30, "episodes": 100},
        {"learning_rate": 0.0},
        {"baseline": "critic"},
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ReinforceConfig.model_validate(wrong)
