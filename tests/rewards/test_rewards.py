from __future__ import annotations

import pytest

from qstar_core.domains import countdown
from qstar_core.mdp import Step
from qstar_core.rewards import process_rewards

PROBLEM = countdown.make_problem([4, 9, 10, 13], 24)
STEPS = [
    Step("13 - 9 = 4 | 10 4 4 > 24\n", tokens=12, logprob=-3.0),
    Step("10 - 4 = 7 | 7 4 > 24\n", tokens=10, logprob=-10.0),
    Step("7 * 4 = 28 | 28 > 24"),
]


def test_rules_are_those_of_the_domain() -> None:
    assert process_rewards("rules", PROBLEM, STEPS) == [1.0, 0.0, 0.0]
    assert process_rewards("rules", PROBLEM, []) == []


def test_none_is_the_constant_0() -> None:
    assert process_rewards("none", PROBLEM, STEPS) == [0.0, 0.0, 0.0]


def test_logprob_is_the_mean_over_the_tokens_of_a_step() -> None:
    assert process_rewards("logprob", PROBLEM, STEPS) == [-0.25, -1.0, 0.0]


def test_an_unknown_reward_is_refused() -> None:
    with pytest.raises(ValueError, match="'logprob' or 'none', got 'prm'"):
        process_rewards("prm", PROBLEM, STEPS)
