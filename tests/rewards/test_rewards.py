from __future__ import annotations

import pytest

from qstar_core.domains import countdown
from qstar_core.rewards import process_rewards

PROBLEM = countdown.make_problem([4, 9, 10, 13], 24)
STEPS = [
    "13 - 9 = 4 | 10 4 4 > 24\n",
    "10 - 4 = 7 | 7 4 > 24\n",
    "7 * 4 = 28 | 28 > 24",
]


def test_rules_are_those_of_the_domain() -> None:
    assert process_rewards("rules", PROBLEM, STEPS) == [1.0, 0.0, 0.0]
    assert process_rewards("rules", PROBLEM, []) == []


def test_none_is_the_constant_0() -> None:
    assert process_rewards("none", PROBLEM, STEPS) == [0.0, 0.0, 0.0]


def test_an_unknown_reward_is_refused() -> None:
    with pytest.raises(ValueError, match="'rules' or 'none', got 'prm'"):
        process_rewards("prm", PROBLEM, STEPS)
