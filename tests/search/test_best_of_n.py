from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.mdp import Step
from qstar_core.policies import Sample
from qstar_core.search import rounds as module
from qstar_core.search.budget import Budget, Ledger
from qstar_core.search.driver import run
from qstar_core.search.slot import Rules, start
from tests.search.trees import (
    AMPLE,
    EXAMPLE,
    TableValue,
    Tree,
    make_config,
    make_policy,
    make_problem,
    optimum,
    trees,
)

Q = make_problem()


@settings(max_examples=50, deadline=None)
@given(tree=trees(), aggregation=st.sampled_from(["min", "max", "sum", "last"]))
def test_ranks_finished_trajectories_as_astar_does(tree: Tree, aggregation: str) -> None:
    """With enough draws to see every trajectory both methods give each the same score."""
    policy, value = make_policy((Q, tree)), TableValue((Q, tree))
    fields = {"reward": "rules", "aggregation": aggregation, "lam": 0.5}
    [star] = run([Q], make_config(n=1000, **fields), AMPLE, policy, value, run_seed=2)
    config = make_config(algorithm="best_of_n", n=400, **fields)
    [best] = run([Q], config, AMPLE, policy, value, run_seed=2)
    scores = {t.state.text: t.score for t in star.finished}
    assert scores == {t.state.text: t.score for t in best.finished}
    assert best.best is not None and best.best.score == max(scores.values())
    assert best.expansions == 0 and best.stop_reason == "finished"


def test_equal_trajectories_are_scored_once() -> None:
    value = TableValue((Q, EXAMPLE))
    config = make_config(algorithm="best_of_n", n=100)
    [result] = run([Q], config, AMPLE, make_policy((Q, EXAMPLE)), value, run_seed=2)
    assert result.value_calls == len(value.asked) == len(set(value.asked)) == 4
    assert [node.order for node in result.nodes if node.terminal] == [0, 1, 2, 3]
    assert result.best is not None and result.best.score == optimum(EXAMPLE)


@settings(max_examples=40, deadline=None)
@given(tree=trees(), tokens=st.integers(1, 80), n=st.integers(1, 30))
def test_the_size_of_rounds_changes_nothing(tree: Tree, tokens: int, n: int) -> None:
    config = make_config(algorithm="best_of_n", n=n)
    results = []
    for size in (1, 7, 50):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "round_size", lambda drawn, ledger, size=size: size)
            value = TableValue((Q, tree))
            budget = Budget(tokens, 10**6, 10**6)
            results += run([Q], config, budget, make_policy((Q, tree)), value, run_seed=2)
    assert results[0] == results[1] == results[2]


@settings(max_examples=60, deadline=None)
@given(
    tree=trees(),
    algorithm=st.sampled_from(["best_of_n", "self_consistency"]),
    n=st.integers(1, 20),
    longest=st.integers(2, 6),
)
def test_a_node_is_there_with_as_many_tokens_as_its_stamp_and_not_with_fewer(
    tree: Tree, algorithm: str, n: int, longest: int
) -> None:
    """Also after rollouts that were cut off and dropped."""
    config = make_config(algorithm=algorithm, n=n)

    def nodes_with(tokens: int) -> dict[str, int]:
        given = Budget(tokens, 10**6, 10**6), make_policy((Q, tree)), TableValue((Q, tree))
        [result] = run([Q], config, *given, run_seed=2, max_new_tokens=longest)
        return {node.state.text: node.tokens for node in result.nodes[1:]}

    for text, stamp in nodes_with(10**6).items():
        assert nodes_with(stamp)[text] == stamp
        assert stamp == 1 or text not in nodes_with(stamp - 1)


def test_rollouts_that_were_cut_off_are_in_the_stamps() -> None:
    cut, end = Sample((Step("a\n", 50),), "length"), Sample((Step("c", 10, ended=True),), "end")
    for algorithm in ("best_of_n", "self_consistency"):
        one = start(0, Q, Rules(make_config(algorithm=algorithm, n=8), AMPLE, 1, 32, 96))
        one.sample_requests()
        one.take_samples(0, [cut] * 7 + [end])
        one.advance()
        assert one.ledger.policy_tokens == 360
        while one.result is None:
            for place, (_, texts) in one.score_requests():
                one.take_values(place, [0.5] * len(texts))
            one.advance()
        assert [node.tokens for node in one.result.nodes] == [0, 360]


def test_lambda_0_asks_for_no_q() -> None:
    config = make_config(algorithm="best_of_n", n=50, lam=0.0, reward="rules")
    [result] = run([Q], config, AMPLE, make_policy((Q, EXAMPLE)), None, run_seed=2)
    assert result.value_calls == 0
    assert all(n.f == n.g for n in result.nodes if n.terminal)


def test_value_calls_that_run_out_leave_the_rest_unranked() -> None:
    config = make_config(algorithm="best_of_n", n=50)
    value, policy = TableValue((Q, EXAMPLE)), make_policy((Q, EXAMPLE))
    [result] = run([Q], config, Budget(10**6, 2, 10**6), policy, value, run_seed=2)
    assert len(result.finished) == result.value_calls == 2
    assert result.stop_reason == "budget"


@pytest.mark.parametrize("algorithm", ["best_of_n", "self_consistency"])
@settings(max_examples=40, deadline=None)
@given(tree=trees(), n=st.integers(1, 20))
def test_finished_is_a_search_whose_budget_was_enough_for_all_n(
    algorithm: str, tree: Tree, n: int
) -> None:
    """Also one that spends it to the last token."""
    config = make_config(algorithm=algorithm, n=n)

    def stop(tokens: int) -> tuple[str, int]:
        given = Budget(tokens, 10**6, 10**6), make_policy((Q, tree)), TableValue((Q, tree))
        [result] = run([Q], config, *given, run_seed=2)
        return result.stop_reason, result.policy_tokens

    reason, needed = stop(10**6)
    assert reason == "finished"
    assert stop(needed) == ("finished", needed)
    for less in (needed - 1, needed // 2):
        assert less < 1 or stop(less) == ("budget", less)


@pytest.mark.parametrize("algorithm", ["best_of_n", "self_consistency"])
def test_value_calls_that_are_just_enough_are_enough(algorithm: str) -> None:
    config = make_config(algorithm=algorithm, vote="q", n=module.FIRST_ROUND)

    def stop(calls: int) -> tuple[str, int]:
        given = make_policy((Q, EXAMPLE)), TableValue((Q, EXAMPLE))
        [result] = run([Q], config, Budget(10**6, calls, 10**6), *given, run_seed=2)
        return result.stop_reason, result.value_calls

    _, needed = stop(10**6)
    assert stop(needed) == ("finished", needed)
    assert stop(needed - 1) == ("budget", needed - 1)


def test_round_size_follows_the_mean_cost() -> None:
    ledger = Ledger(Budget(100, 10, 10))
    assert module.round_size(0, ledger) == module.FIRST_ROUND
    ledger.charge_tokens(40)
    assert module.round_size(8, ledger) == 12  # 60 tokens left at 5 each
    ledger.charge_tokens(57)
    assert module.round_size(8, ledger) == 1


@pytest.mark.parametrize(
    ("drawn", "tokens", "seconds", "limit", "size"),
    [
        (0, 0, 0.0, None, module.FIRST_ROUND),
        (0, 0, 0.0, 1.0, module.FIRST_TIMED_ROUND),
        (8, 80, 0.0, None, 92),  # 920 tokens left at 10 each
        (8, 80, 0.0, 1.0, 8),  # the clock has not moved: no more than were drawn
        (8, 80, 0.1, 1.0, 8),  # 72 would fit, but a round at most doubles what is drawn
        (8, 80, 0.75, 1.0, 2),  # 0.25 s left at 0.09 each
        (8, 80, 0.99, 1.0, 1),
    ],
)
def test_a_round_takes_what_the_tokens_and_the_seconds_are_likely_to_pay_for(
    drawn: int, tokens: int, seconds: float, limit: float | None, size: int
) -> None:
    ledger = Ledger(Budget(1000, 1000, 1000, seconds=limit), policy_tokens=tokens, seconds=seconds)
    assert module.round_size(drawn, ledger) == size
