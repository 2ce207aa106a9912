from __future__ import annotations

import random
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.config import SearchConfig
from qstar_core.domains import DOMAINS
from qstar_core.errors import UserError
from qstar_core.mdp import Problem
from qstar_core.policies import StepRule
from qstar_core.search.budget import Budget
from qstar_core.search.driver import run
from qstar_core.search.slot import whole_steps
from qstar_core.search.trace import SearchResult
from tests.search.engines import METHODS, BrokenValue, Spy, named
from tests.search.trees import (
    AMPLE,
    EXAMPLE,
    TableValue,
    Tree,
    make_config,
    make_policy,
    make_problem,
    trees,
)

forests = st.lists(trees(), min_size=1, max_size=5)
methods = st.sampled_from(METHODS)


@settings(max_examples=80, deadline=None)
@given(
    tree=trees(),
    config=methods,
    limits=st.tuples(st.integers(1, 60), st.integers(1, 12), st.integers(1, 6)),
)
def test_budgets_are_never_exceeded(
    tree: Tree, config: SearchConfig, limits: tuple[int, int, int]
) -> None:
    problem = make_problem()
    policy, value = Spy(make_policy((problem, tree))), TableValue((problem, tree))
    [result] = run([problem], config, Budget(*limits), policy, value, run_seed=4)
    tokens, calls, expansions = limits
    assert result.error == ""
    assert result.policy_tokens <= tokens
    assert len(value.asked) == result.value_calls <= calls
    proposals = [r for batch in policy.batches for r in batch if r.max_steps == 1]
    assert len(proposals) == result.expansions <= expansions
    assert all(r.max_new_tokens <= tokens for batch in policy.batches for r in batch)
    assert sum(node.state.steps[-1].tokens for node in result.nodes[1:]) <= result.policy_tokens
    generated = {s.text for sample in policy.samples for s in whole_steps(sample, StepRule())}
    if result.best is not None:
        assert {step.text for step in result.best.state.steps} <= generated
        assert result.best.state.steps[-1].ended
        assert result.best in result.finished


@settings(max_examples=60, deadline=None)
@given(forest=forests, config=methods, active=st.integers(1, 6), shuffle=st.randoms())
def test_results_depend_neither_on_active_nor_on_order(
    forest: list[Tree], config: SearchConfig, active: int, shuffle: random.Random
) -> None:
    pairs = named(forest)
    policy, value = make_policy(*pairs), TableValue(*pairs)
    budget = Budget(40, 30, 10)
    problems = [problem for problem, _ in pairs]
    expected = run(problems, config, budget, policy, value, run_seed=4, active=64)
    mixed = list(range(len(problems)))
    shuffle.shuffle(mixed)
    results = run(
        [problems[i] for i in mixed], config, budget, policy, value, run_seed=4, active=active
    )
    assert results == [expected[i] for i in mixed]


def test_requests_of_all_searches_make_one_batch_and_slots_are_refilled() -> None:
    pairs = named([EXAMPLE] * 5)
    policy, value = Spy(make_policy(*pairs)), TableValue(*pairs)
    results = run(
        [p for p, _ in pairs], make_config(n=1), AMPLE, policy, value, run_seed=4, active=2
    )
    assert all(result.stop_reason == "finished" for result in results)
    assert [result.problem for result in results] == [p for p, _ in pairs]
    assert max(map(len, policy.batches)) == 2  # both active searches at once
    assert value.calls <= len(policy.batches) + 1


def test_another_seed_gives_other_samples_and_methods_share_streams() -> None:
    problem = make_problem()
    tree: Tree = {f"s{i}": 0.5 for i in range(50)}
    policy, value = make_policy((problem, tree)), TableValue((problem, tree))

    def texts(config: SearchConfig, seed: int) -> list[str]:
        [result] = run([problem], config, AMPLE, policy, value, run_seed=seed)
        return [node.text for node in result.nodes[1:]]

    star = texts(make_config(k=8), 1)
    assert star == texts(make_config(algorithm="best_of_n", n=8), 1)
    assert star != texts(make_config(k=8), 2)


def test_asking_the_same_state_again_draws_new_samples() -> None:
    problem = make_problem()
    spy = Spy(make_policy((problem, EXAMPLE)))
    config = make_config(algorithm="best_of_n", n=30)
    run([problem], config, Budget(100, 99, 9), spy, TableValue((problem, EXAMPLE)), run_seed=1)
    seeds = [seed for batch in spy.batches for r in batch for seed in r.seeds]
    assert len(spy.batches) > 1 and len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("config", METHODS, ids=["edge", "lookahead", "best_of_n", "greedy"])
def test_a_problem_that_the_policy_refuses_fails_alone(config: SearchConfig) -> None:
    pairs = named([EXAMPLE] * 4)
    policy = make_policy(*pairs[:1], *pairs[2:])  # knows no steps for q1
    problems, value = [p for p, _ in pairs], TableValue(*pairs)
    results = run(problems, config, AMPLE, policy, value, run_seed=4)
    assert [r.stop_reason == "error" for r in results] == [False, True, False, False]
    assert results[1].error.startswith("ValueError: no steps in the table for the prompt 'q1")
    assert results[1].best is None and results[1].nodes == []
    others = [problems[i] for i in (0, 2, 3)]
    assert [results[i] for i in (0, 2, 3)] == run(
        others, config, AMPLE, policy, TableValue(*pairs), run_seed=4
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ValueError("too long"), "ValueError: too long"),
        (UserError("too long"), "UserError: too long"),
        (1.5, "ValueError: Q must be in [0, 1]"),
        (float("nan"), "ValueError: Q must be in [0, 1]"),
    ],
)
def test_a_problem_that_the_value_model_refuses_fails_alone(
    answer: float | Exception, message: str
) -> None:
    pairs = named([EXAMPLE] * 3)
    value = BrokenValue(*pairs, answer=answer)
    results = run(
        [p for p, _ in pairs], make_config(), AMPLE, make_policy(*pairs), value, run_seed=4
    )
    assert [r.stop_reason for r in results] == ["finished", "error", "finished"]
    assert results[1].error.startswith(message)


@pytest.mark.parametrize("function", ["is_terminal", "rule_rewards", "max_steps"])
def test_a_domain_that_fails_on_a_problem_spares_the_others(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(DOMAINS["toy"], function)

    def wrong(problem: Problem, *rest: Any) -> Any:
        if problem.prompt == "q1\n":
            raise RuntimeError("bad problem")
        return right(problem, *rest)

    monkeypatch.setattr(DOMAINS["toy"], function, wrong)
    pairs = named([EXAMPLE] * 3)
    config = make_config(algorithm="best_of_n", n=4, reward="rules")
    policy, value = make_policy(*pairs), TableValue(*pairs)
    results = run([p for p, _ in pairs], config, AMPLE, policy, value, run_seed=4)
    assert [r.stop_reason for r in results] == ["finished", "error", "finished"]
    assert results[1].error == "RuntimeError: bad problem"


def test_an_unknown_domain_fails_alone() -> None:
    pairs = named([EXAMPLE] * 2)
    stranger = Problem("nowhere", "q0\n", "{}")
    problems = [pairs[1][0], stranger]
    policy, value = make_policy(*pairs), TableValue(*pairs)
    results = run(problems, make_config(), AMPLE, policy, value, run_seed=4)
    assert [r.stop_reason for r in results] == ["finished", "error"]


def test_trouble_of_an_engine_is_raised() -> None:
    pairs = named([EXAMPLE] * 2)
    value = BrokenValue(*pairs, answer=RuntimeError("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        run([p for p, _ in pairs], make_config(), AMPLE, make_policy(*pairs), value, run_seed=4)


def test_a_method_that_ranks_by_q_needs_a_value_model() -> None:
    with pytest.raises(UserError, match="there is no QVM") as raised:
        run([], make_config(), AMPLE, make_policy(), None, run_seed=4)
    assert "qstar train-qvm" in raised.value.next_step
    assert run([], make_config(lam=0.0), AMPLE, make_policy(), None, run_seed=4) == []


def test_limits_below_1_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        run([], make_config(lam=0.0), AMPLE, make_policy(), None, run_seed=4, active=0)


def test_progress_adds_up() -> None:
    pairs = named([EXAMPLE] * 5)
    seen: list[tuple[int, int, int]] = []
    results = run(
        [p for p, _ in pairs],
        make_config(k=3),
        AMPLE,
        make_policy(*pairs),
        TableValue(*pairs),
        run_seed=4,
        active=2,
        on_progress=lambda *told: seen.append(told),
    )
    assert sum(done for done, _, _ in seen) == 5
    assert sum(tokens for _, tokens, _ in seen) == sum(r.policy_tokens for r in results)
    assert max(under_way for _, _, under_way in seen) == 2


def test_the_limit_of_a_trajectory_holds_for_every_method() -> None:
    """Two steps of two tokens each: 3 tokens suffice for the one-step answer only."""
    pair = (make_problem(), EXAMPLE)
    policy, value = make_policy(pair), TableValue(pair)
    for fields in ({}, {"heuristic": "lookahead"}, {"algorithm": "best_of_n"}):
        config = make_config(**{"n": 30, **fields})
        [result] = run([pair[0]], config, AMPLE, policy, value, run_seed=6, max_new_tokens=3)
        assert {t.state.text for t in result.finished} == {"q\nc"}


def test_results_are_handed_over_as_searches_end_and_not_kept() -> None:
    pairs = named([{"a": 1.0}, EXAMPLE, {"b": 0.5}])
    problems = [problem for problem, _ in pairs]
    policy, value = make_policy(*pairs), TableValue(*pairs)
    expected = run(problems, make_config(), AMPLE, policy, value, run_seed=4)
    told: list[tuple[int, SearchResult]] = []
    counts: list[tuple[int, int]] = []
    kept = run(
        problems,
        make_config(),
        AMPLE,
        policy,
        value,
        run_seed=4,
        on_result=lambda place, result: told.append((place, result)),
        on_progress=lambda done, tokens, active: counts.append((len(told), done)),
    )
    assert kept == []
    assert [place for place, _ in told] == [0, 2, 1]
    assert [result for _, result in sorted(told, key=lambda pair: pair[0])] == expected
    assert [seen for seen, _ in counts] == list(accumulate(done for _, done in counts))
