from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.adaptive.baselines import (
    best_of_table,
    by_factors,
    halving,
    mean_curve,
    random_actions,
    regret_curve,
)
from qstar_core.adaptive.policy import draw_factors
from qstar_core.adaptive.training import train
from qstar_core.config_adaptive import ReinforceConfig
from qstar_core.errors import UserError
from qstar_core.keys import sample_seed
from tests.adaptive.bandits import contextual, results, space_of, start

SEEDS = np.array([sample_seed(0, "q", k) for k in range(12_000)], dtype=np.uint64)


def test_random_actions_are_uniform_over_all_configurations() -> None:
    space = space_of(3, 4)
    drawn = random_actions(space, SEEDS)
    assert drawn.propensities is not None
    assert drawn.propensities.prod(axis=1) == pytest.approx(1 / 12)
    counts = np.bincount(space.number(drawn.actions), minlength=12)
    assert abs(counts - 1000).max() < 150


def test_the_best_of_a_full_table_leaves_out_what_is_unknown() -> None:
    nan = np.nan
    table = np.array([[0.1, 0.5, nan, nan], [0.3, 0.4, 0.9, nan], [0.2, nan, 0.2, nan]])
    assert best_of_table(table) == 2
    assert best_of_table(table[:, :2]) == 1
    assert best_of_table(np.array([[0.5, 0.5]])) == 0


@pytest.mark.parametrize("seed", range(5))
def test_halving_finds_the_best_fixed_configuration(seed: int) -> None:
    space = space_of(4, 5)
    chances = np.random.default_rng(seed).uniform(0.1, 0.6, size=20)
    chances[7] = 0.9
    pulled: list[int] = []

    def pull(
        actions: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        pulled.append(len(actions))
        at = sum(pulled)
        rng = np.random.default_rng([seed, at])
        found = (rng.random(len(actions)) < chances[space.number(actions)]).astype(float)
        found[rng.random(len(actions)) < 0.05] = np.nan  # a grader that fails sometimes
        return found

    best = halving(pull, space, 50, 3000, seed)
    assert space.number([best]).tolist() == [7]
    assert sum(pulled) <= 3000


def test_halving_asks_all_that_are_left_the_same_questions() -> None:
    space = space_of(4)
    asked: list[set[tuple[int, ...]]] = []

    def pull(
        actions: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        arms = space.number(actions)
        asked.append({tuple(rows[arms == arm]) for arm in np.unique(arms)})
        return arms.astype(float)

    assert halving(pull, space, 30, 80, 0) == (3,)
    assert [len(each) for each in asked] == [1, 1]
    with pytest.raises(UserError, match="7 episodes are too few to halve 4 configurations 2"):
        halving(pull, space, 30, 7, 0)


@given(st.integers(0, 500))
def test_the_best_value_of_each_factor_whatever_it_was_drawn_with(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space, n = space_of(3, 4), 12_000
    effects = [rng.permutation(np.linspace(0, 0.5, w)) for w in space.widths]
    skewed = [np.tile(rng.dirichlet(np.full(w, 5.0)) * 0.7 + 0.3 / w, (n, 1)) for w in space.widths]
    drawn = draw_factors(skewed, SEEDS)
    assert drawn.propensities is not None
    worth = effects[0][drawn.actions[:, 0]] + effects[1][drawn.actions[:, 1]]
    found = by_factors(space, drawn.actions, drawn.propensities, worth)
    assert found == (int(effects[0].argmax()), int(effects[1].argmax()))


def test_one_factor_alone_is_learnt_with_the_others_fixed() -> None:
    bandit = contextual(0, widths=(4, 3), kinds=3)
    questions, kinds = bandit.questions(200, 1)
    whole = bandit.space.all_actions()
    fixed = max(whole, key=lambda a: bandit.expected(kinds, np.tile(a, (200, 1))).mean())
    space = bandit.space.pinned(bandit.space.configuration(fixed), ["f0"])
    training = start(space, questions, ReinforceConfig(episodes=3000), 0)

    def outer(actions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        named = [space.configuration(tuple(a)) for a in actions.tolist()]
        return np.array([bandit.space.action(each) for each in named])

    policy = train(
        training,
        lambda b: results(bandit.expected(kinds[b.rows], outer(b.drawn.actions)), b.seeds),
    )
    learnt = outer(policy.best(training.questions.embeddings))
    assert (learnt[:, 1] == fixed[1]).all()
    gained = bandit.expected(kinds, learnt).mean()
    alone = bandit.expected(kinds, np.tile(fixed, (200, 1))).mean()
    oracle = bandit.expected(kinds, bandit.best[kinds]).mean()
    assert alone + 0.03 < gained < oracle


def test_regret_is_what_the_best_would_have_earned_more() -> None:
    curve = regret_curve(np.array([0.5, 0.9, 0.2]), np.array([1.0, 0.9, 0.6]))
    assert curve.tolist() == pytest.approx([0.5, 0.5, 0.9])
    assert regret_curve(np.array([0.5, 0.9]), 0.6).tolist() == pytest.approx([0.1, -0.2])
    mean, low, high = mean_curve([curve, curve + 0.2])
    assert mean.tolist() == pytest.approx((curve + 0.1).tolist())
    assert (high - mean).tolist() == pytest.approx([1.959964 * 0.1] * 3)
    assert (low < mean).all() and np.isnan(mean_curve([curve])[1]).all()
