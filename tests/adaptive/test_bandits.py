from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.adaptive.bandits import LinearBandit, Rule, principal
from qstar_core.adaptive.baselines import random_actions
from qstar_core.errors import UserError
from qstar_core.keys import sample_seed
from tests.adaptive.bandits import contextual, results, space_of

RULES: list[tuple[Rule, float]] = [("epsilon_greedy", 0.1), ("linucb", 0.5), ("thompson", 0.3)]


def seeds(n: int, run: int = 0) -> np.ndarray:
    return np.array([sample_seed(run, "q", k) for k in range(n)], dtype=np.uint64)


@pytest.mark.parametrize(("rule", "explore"), RULES)
def test_they_learn_more_than_chance(rule: Rule, explore: float) -> None:
    bandit = contextual(1, widths=(4, 3), kinds=3)
    questions, kinds = bandit.questions(1500, 1)
    features = principal(questions.embeddings, 8)
    x = features.of(questions.embeddings)
    learner = LinearBandit(bandit.space, x.shape[1], rule, explore)
    for first in range(0, 1500, 50):
        rows = slice(first, first + 50)
        drawn = learner.draw(x[rows], seeds(1500)[rows])
        chance = bandit.expected(kinds[rows], drawn.actions)
        won = [float(r.reward or 0) for r in results(chance, seeds(1500)[rows])]
        learner.learn(x[rows], drawn.actions, np.array(won))
    others, held_out = bandit.questions(300, 2)
    found = bandit.expected(held_out, learner.best(features.of(others.embeddings))).mean()
    chance_level = bandit.expected(held_out, random_actions(bandit.space, seeds(300)).actions)
    oracle = bandit.expected(held_out, bandit.best[held_out]).mean()
    assert found > 0.85 * oracle > chance_level.mean() + 0.1


@given(st.integers(0, 1000), st.integers(1, 40))
def test_the_regressions_are_ridge_regressions(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    space = space_of(2, 3)
    x, worth = rng.normal(size=(n, 3)), rng.random(n)
    actions = np.stack([rng.integers(w, size=n) for w in space.widths], axis=1)
    learner = LinearBandit(space, 3, "epsilon_greedy", 0.0, ridge=0.5)
    learner.learn(x[: n // 2], actions[: n // 2], worth[: n // 2])
    learner.learn(x[n // 2 :], actions[n // 2 :], worth[n // 2 :])
    wanted = []
    for j, width in enumerate(space.widths):
        thetas = []
        for k in range(width):
            rows = x[actions[:, j] == k]
            target = worth[actions[:, j] == k]
            thetas.append(np.linalg.solve(rows.T @ rows + 0.5 * np.eye(3), rows.T @ target))
        wanted.append((x @ np.array(thetas).T).argmax(axis=1))
    assert (learner.best(x) == np.stack(wanted, axis=1)).all()


def test_propensities_of_epsilon_greedy_are_its_frequencies() -> None:
    space, x = space_of(4), np.ones((20_000, 1))
    learner = LinearBandit(space, 1, "epsilon_greedy", 0.2)
    learner.learn(np.ones((50, 1)), np.full((50, 1), 2), np.ones(50))
    drawn = learner.draw(x, seeds(20_000))
    assert drawn.propensities is not None
    shares = np.bincount(drawn.actions[:, 0], minlength=4) / 20_000
    for k in range(4):
        told = drawn.propensities[drawn.actions[:, 0] == k]
        assert told == pytest.approx(0.85 if k == 2 else 0.05)
        assert shares[k] == pytest.approx(told[0, 0], abs=0.01)


def test_linucb_tries_what_it_does_not_know_and_thompson_sampling_hides_its_chances() -> None:
    space, x = space_of(3), np.ones((1, 1))
    learner = LinearBandit(space, 1, "linucb", 1.0)
    seen = []
    for k in range(3):
        drawn = learner.draw(x, seeds(1, k))
        assert drawn.propensities is not None and drawn.propensities.tolist() == [[1.0]]
        learner.learn(x, drawn.actions, np.array([0.1]))
        seen.append(int(drawn.actions[0, 0]))
    assert sorted(seen) == [0, 1, 2]
    thompson = LinearBandit(space, 1, "thompson", 1.0)
    rows = np.ones((300, 1))
    drawn = thompson.draw(rows, seeds(300))
    assert drawn.propensities is None and set(drawn.actions[:, 0].tolist()) == {0, 1, 2}
    assert (thompson.draw(rows[5:6], seeds(300)[5:6]).actions == drawn.actions[5:6]).all()


def test_features_are_uncorrelated_and_of_one_size() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 12)) + 3
    features = principal(x, 16)
    found = features.of(x)
    assert found.shape == (200, 6)  # five directions have variance
    np.testing.assert_allclose(found.T @ found / 200, np.eye(6), atol=1e-9)
    assert principal(np.ones((4, 3))).of(np.ones((2, 3))).tolist() == [[1.0], [1.0]]
    with pytest.raises(UserError, match="width 12"):
        features.of(np.ones((2, 3)))
