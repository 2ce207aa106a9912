from __future__ import annotations

from qstar_core.policies.scripted import ScriptedPolicy
from qstar_core.search.budget import Budget
from qstar_core.search.driver import run
from tests.search.trees import AMPLE, make_config, make_problem

Q = make_problem()
POLICY = ScriptedPolicy(
    {"q\n": [("a\n", 0.4), ("b\n", 0.6)], "q\nb\n": [("x", 0.9), ("y", 0.1)], "q\na\n": [("z", 1)]}
)


def test_takes_the_most_likely_steps_whatever_the_temperature() -> None:
    config = make_config(algorithm="greedy", temperature=1.0, reward="rules", aggregation="sum")
    [result] = run([Q], config, AMPLE, POLICY, None, run_seed=5)
    assert result.best is not None and result.best.state.text == "q\nb\nx"
    assert result.best.score == 0.25 - 0.5  # R_P of b and x
    assert (result.policy_tokens, result.value_calls, result.expansions) == (4, 0, 0)
    assert result.stop_reason == "finished"
    assert [node.chosen for node in result.nodes] == [True, True, True]


def test_a_rollout_beyond_the_budget_is_dropped() -> None:
    [result] = run([Q], make_config(algorithm="greedy"), Budget(3, 9, 9), POLICY, None, run_seed=5)
    assert result.best is None and result.stop_reason == "budget"
    assert result.policy_tokens == 3


def test_a_rollout_cut_off_by_its_own_limit_is_no_trajectory() -> None:
    config = make_config(algorithm="greedy")
    [result] = run([Q], config, AMPLE, POLICY, None, run_seed=5, max_new_tokens=3)
    assert result.best is None and result.stop_reason == "exhausted"
