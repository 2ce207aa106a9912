from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from qstar_core.adaptive.actions import ActionSpace
from qstar_core.adaptive.episodes import Result, to_table
from qstar_core.config_adaptive import AdaptiveConfig
from qstar_core.configuring import logged
from qstar_core.configuring.learners import space_for
from qstar_core.errors import UserError
from tests.adaptive.bandits import space_of

SPACE = space_of(3, 2)
BEST = (2, 1)
IDS = tuple(f"q{k}" for k in range(40))


def config(**fields: Any) -> AdaptiveConfig:
    return AdaptiveConfig.model_validate(fields)


def table(space: ActionSpace, settings: AdaptiveConfig, unknown: bool = False) -> pa.Table:
    """Episodes that succeed in the best configuration and in half of the questions."""
    batch = logged.draw(space, settings, IDS, 0, 3)
    results = []
    for question, action in zip(batch.question_ids, batch.drawn.actions.tolist(), strict=True):
        won = tuple(action) == BEST and int(question[1:]) % 2 == 0
        results.append(Result(None if unknown else float(won), "x", 10 + 10 * action[0]))
    return to_table(space, batch, results)


def test_random_ones_do_not_depend_on_the_shard() -> None:
    whole = logged.draw(SPACE, config(logged=5), IDS, 0, 3)
    part = logged.draw(SPACE, config(logged=5), IDS[10:20], 10, 3)
    assert len(whole) == 200 and part.first == 50
    assert (whole.drawn.actions[50:100] == part.drawn.actions).all()
    assert whole.drawn.propensities is not None
    assert np.allclose(whole.drawn.propensities.prod(axis=1), 1 / 6)
    assert (
        whole.drawn.actions != logged.draw(SPACE, config(logged=5), IDS, 0, 4).drawn.actions
    ).any()


def test_all_are_all() -> None:
    batch = logged.draw(SPACE, config(logged="all"), IDS[:2], 0, 3)
    assert batch.question_ids == ("q0",) * 6 + ("q1",) * 6
    assert sorted(SPACE.number(batch.drawn.actions[:6]).tolist()) == list(range(6))


@pytest.mark.parametrize("how_many", [12, "all"])
def test_the_best_fixed_one_is_found(how_many: Any) -> None:
    assert logged.best_fixed(SPACE, table(SPACE, config(logged=how_many)), 0.0) == BEST


def test_with_few_episodes_each_factor_is_taken_by_itself() -> None:
    wide = space_of(30, 2)
    assert logged.best_fixed(wide, table(wide, config(logged=20)), 0.0) == BEST


def test_a_price_decides_for_the_cheap_one() -> None:
    assert logged.best_fixed(SPACE, table(SPACE, config(logged="all")), 0.1)[0] == 0


def test_without_a_reward_there_is_no_best_one() -> None:
    with pytest.raises(UserError, match="none of 240 episodes has reward"):
        logged.best_fixed(SPACE, table(SPACE, config(logged="all"), unknown=True), 0.0)


def test_estimates_of_a_table_are_its_means() -> None:
    all_best = dict.fromkeys(IDS, BEST)
    rows = logged.estimates(SPACE, table(SPACE, config(logged="all")), 0.0, {"it": all_best})
    found = {row["policy"]: row["utility"] for row in rows}
    assert found == {"random": pytest.approx(0.0833, abs=1e-3), "fixed": 0.5, "it": 0.5}


def test_a_table_answers_for_a_space_with_fewer_values() -> None:
    small = space_for("only-f0", SPACE, BEST)
    assert small.widths == (3, 1)
    lookup = logged.Lookup(small, table(SPACE, config(logged="all")), SPACE)
    batch = logged.draw(small, config(logged="all"), IDS[:2], 0, 3)
    assert [r.reward for r in lookup(batch)] == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    assert [r.tokens for r in lookup(batch)][:3] == [10, 20, 30]


def test_what_was_not_logged_cannot_be_looked_up() -> None:
    lookup = logged.Lookup(SPACE, table(SPACE, config(logged=1)), SPACE)
    with pytest.raises(UserError, match="was not logged") as caught:
        lookup(logged.draw(SPACE, config(logged="all"), IDS, 0, 3))
    assert "adaptive.logged to all" in caught.value.next_step
