"""What every algorithm has to keep, on random small trees with exact Q."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.config import SearchConfig
from qstar_core.policies import Sample, SampleRequest
from qstar_core.policies.scripted import ScriptedPolicy
from qstar_core.search import ALGORITHMS
from qstar_core.search.budget import Budget
from qstar_core.search.driver import run
from qstar_core.search.trace import SearchResult
from tests.search.trees import (
    AMPLE,
    TableValue,
    Tree,
    make_config,
    make_policy,
    make_problem,
    optimum,
    step_reward,
    table,
    trees,
)
from tests.search.variants import VARIANTS, name

EXHAUSTIVE = [v for v in VARIANTS if v["algorithm"] in ("beam", "dvts", "best_first", "astar")]

TREE_SEARCHES = [*EXHAUSTIVE, *(v for v in VARIANTS if v["algorithm"] == "mcts")]


class Recorder:
    """A policy or value model that is asked in batches of a given size and notes what it wrote."""

    fingerprint = "recorder"

    def __init__(self, inner: Any, size: int = 1000) -> None:
        self.inner, self.size = inner, size
        self.written: set[str] = set()
        self.scored = 0

    def sample(
        self, requests: Sequence[SampleRequest], done: Callable[[int, int], None] | None = None
    ) -> list[list[Sample]]:
        answers = [a for some in batched(requests, self.size) for a in self.inner.sample(some)]
        for request, samples in zip(requests, answers, strict=True):
            for sample in samples:
                for count in range(1, len(sample.steps) + 1):
                    texts = (step.text for step in sample.steps[:count])
                    self.written.add(request.text + "".join(texts))
        return answers

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        self.scored += len(texts)
        pairs = batched(list(zip(texts, ended, strict=True)), self.size)
        return [q for some in pairs for q in self.inner.score(*zip(*some, strict=True))]


def batched(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def search(
    forest: list[Tree],
    config: SearchConfig,
    budget: Budget,
    active: int = 64,
    step: int = 1,
    batch: int = 1000,
) -> list[SearchResult]:
    pairs = [(make_problem(f"q{k}"), tree) for k, tree in enumerate(forest)]
    return run(
        [problem for problem, _ in pairs][::step],
        config,
        budget,
        Recorder(make_policy(*pairs), batch),
        Recorder(TableValue(*pairs), batch),
        run_seed=1,
        active=active,
    )[::step]


def test_all_algorithms_are_among_the_variants() -> None:
    assert {variant["algorithm"] for variant in VARIANTS} == set(ALGORITHMS)


@pytest.mark.parametrize("variant", VARIANTS, ids=name)
@settings(max_examples=25, deadline=None)
@given(
    tree=trees(),
    k=st.integers(1, 5),
    n=st.integers(1, 5),
    limits=st.tuples(st.integers(1, 60), st.integers(1, 30), st.integers(1, 10)),
)
def test_budget_and_what_is_returned(
    variant: dict[str, Any], tree: Tree, k: int, n: int, limits: tuple[int, int, int]
) -> None:
    config, problem = make_config(**variant, k=k, n=n), make_problem()
    policy = Recorder(make_policy((problem, tree)))
    value = Recorder(TableValue((problem, tree)))
    [result] = run([problem], config, Budget(*limits), policy, value, run_seed=1)
    assert result.error == ""
    spent = (result.policy_tokens, result.value_calls, result.expansions)
    assert all(took <= limit for took, limit in zip(spent, limits, strict=True))
    assert value.scored == result.value_calls
    paid = sum(node.state.steps[-1].tokens for node in result.nodes[1:])
    assert paid <= result.policy_tokens
    assert {node.state.text for node in result.nodes[1:]} <= policy.written
    ends = {node.state.text for node in result.nodes if node.terminal}
    assert all(trajectory.state.text in ends for trajectory in result.finished)
    if result.best is not None:
        assert result.best.score == max(t.score for t in result.finished)
        chosen = [node for node in result.nodes if node.chosen]
        assert chosen[-1].state == result.best.state
    else:
        assert not result.finished


@pytest.mark.parametrize("variant", VARIANTS, ids=name)
@settings(max_examples=15, deadline=None)
@given(forest=st.lists(trees(), min_size=2, max_size=4), tokens=st.integers(10, 80))
def test_results_depend_neither_on_the_others_nor_on_order_or_batch(
    variant: dict[str, Any], forest: list[Tree], tokens: int
) -> None:
    config = make_config(**variant, k=3, n=3)
    budget = Budget(tokens, 10**6, 10**6)
    together = search(forest, config, budget)
    assert search(forest, config, budget, active=1) == together
    assert search(forest, config, budget, active=2, step=-1) == together
    assert search(forest, config, budget, batch=1) == together


@pytest.mark.parametrize("variant", TREE_SEARCHES, ids=name)
@settings(max_examples=25, deadline=None)
@given(tree=trees(), k=st.integers(1, 6), n=st.integers(1, 30))
def test_no_action_is_scored_twice(variant: dict[str, Any], tree: Tree, k: int, n: int) -> None:
    """Neither in a later pass nor by two subtrees in one round, by neither of the two models."""
    problem = make_problem()
    config = make_config(**variant, k=k, n=n, reward="prm")
    value, prm = TableValue((problem, tree)), TableValue((problem, tree))
    policy = make_policy((problem, tree))
    [result] = run([problem], config, AMPLE, policy, value, run_seed=1, prm=prm)
    assert result.error == ""
    scored = {node.state.text for node in result.nodes[1:]}
    for model in [value] if config.algorithm == "best_first" else [value, prm]:
        assert len(model.asked) == len(set(model.asked))
        assert scored <= set(model.asked)  # lookahead scores some that become no nodes
    assert result.value_calls == len(value.asked) + len(prm.asked)


@pytest.mark.parametrize("variant", TREE_SEARCHES, ids=name)
@settings(max_examples=25, deadline=None)
@given(
    tree=trees(),
    k=st.integers(1, 4),
    n=st.integers(1, 6),
    tokens=st.integers(2, 60),
    reward=st.sampled_from(["none", "rules"]),
)
def test_stamps_say_what_a_search_with_fewer_tokens_would_have_had(
    variant: dict[str, Any], tree: Tree, k: int, n: int, tokens: int, reward: str
) -> None:
    """Its tree is what was there by then, and it returns the largest f of its trajectories."""
    config = make_config(**variant, k=k, n=n, reward=reward)
    [whole] = search([tree], config, AMPLE)
    [part] = search([tree], config, Budget(tokens, 10**6, 10**6))
    then = {m.state.text: (m.f, m.tokens) for m in whole.nodes if m.terminal and m.tokens <= tokens}
    assert {m.state.text: (m.f, m.tokens) for m in part.nodes if m.terminal} == then
    best = None if part.best is None else part.best.score
    assert best == max((f for f, _ in then.values() if f is not None), default=None)


@pytest.mark.parametrize("variant", EXHAUSTIVE, ids=name)
@settings(max_examples=40, deadline=None)
@given(tree=trees())
def test_tree_searches_find_an_optimum_with_exact_q(variant: dict[str, Any], tree: Tree) -> None:
    [result] = search([tree], make_config(**variant, n=1), AMPLE)
    assert result.best is not None
    found = result.best.score
    assert found == optimum(tree)
    assert result.stop_reason == "finished"


def every_f(tree: Tree, rewards: tuple[float, ...] = ()) -> list[float]:
    """f = min R_P + reward of every trajectory, the largest first."""
    found = []
    for text, below in tree.items():
        path = (*rewards, step_reward(text))
        found += every_f(below, path) if isinstance(below, dict) else [min(path) + below]
    return sorted(found, reverse=True)


@settings(max_examples=80, deadline=None)
@given(tree=trees(), n=st.integers(1, 8), heuristic=st.sampled_from(["edge", "lookahead"]))
def test_astar_finishes_the_n_largest_f_with_exact_q(tree: Tree, n: int, heuristic: str) -> None:
    """The largest first: f = min R_P + Q* never falls short of what follows, nor grows on the way.

    How many expansions that takes says nothing against best-first, which is after another optimum.
    """
    config = make_config(n=n, reward="rules", aggregation="min", heuristic=heuristic)
    [result] = search([tree], config, AMPLE)
    scores = [trajectory.score for trajectory in result.finished]
    assert scores == every_f(tree)[:n]
    if len(scores) == n:
        expanded = [node for node in result.nodes[1:] if node.order >= 0 and not node.terminal]
        assert all(node.f is not None and node.f >= scores[-1] for node in expanded)


def test_best_first_goes_by_q_alone_where_astar_goes_by_f() -> None:
    """Q speaks for d, R_P against it: best-first needs one more expansion, for a smaller f."""
    tree: Tree = {"a\n": {"C": 0.75}, "d\n": {"e\n": {"C": 1.0}}}
    assert [step_reward(text) for text in "adeC"] == [0.0, -0.5, -0.25, 0.0]
    star, best = (
        search([tree], make_config(algorithm=name, reward="rules"), AMPLE)[0]
        for name in ("astar", "best_first")
    )
    assert star.best is not None and best.best is not None
    assert [step.text for step in star.best.state.steps] == ["a\n", "C"]
    assert [step.text for step in best.best.state.steps] == ["d\n", "e\n", "C"]
    assert every_f(tree) == [0.75, 0.5]
    assert (star.expansions, best.expansions) == (2, 3)


@settings(max_examples=30, deadline=None)
@given(tree=trees(), exploration_rule=st.sampled_from(["puct", "uct"]))
def test_mcts_with_an_ample_budget_walks_to_every_end(tree: Tree, exploration_rule: str) -> None:
    config = make_config(algorithm="mcts", n=1000, exploration_rule=exploration_rule)
    [result] = search([tree], config, AMPLE)
    assert result.stop_reason == "exhausted"
    assert result.best is not None and result.best.score == optimum(tree)
    assert len(result.finished) == sum(node.terminal for node in result.nodes)
    assert len({t.state.text for t in result.finished}) == len(result.finished)


def test_mcts_counts_an_end_that_it_has_not_walked_to() -> None:
    """The policy prefers X, so the first walk goes there; Y, sampled with it, is better."""
    problem, tree = make_problem(), {"X": 0.5, "Y": 1.0}
    policy = ScriptedPolicy({problem.prompt: [("X", 0.9), ("Y", 0.1)]})
    config = make_config(algorithm="mcts", n=1, exploration=10.0)
    [result] = run([problem], config, AMPLE, policy, TableValue((problem, tree)), run_seed=1)
    walked = [node.text for node in result.nodes if node.terminal and node.order >= 0]
    assert walked == ["X"] and result.stop_reason == "finished"
    assert [trajectory.score for trajectory in result.finished] == [0.5, 1.0]
    assert result.best is not None and result.best.state.steps[-1].text == "Y"


@settings(max_examples=60, deadline=None)
@given(tree=trees(), n=st.integers(1, 4), exploration_rule=st.sampled_from(["puct", "uct"]))
def test_mcts_returns_no_less_with_more_tokens(tree: Tree, n: int, exploration_rule: str) -> None:
    """Also where the policy prefers the first action of every state, whatever it is worth."""
    problem, value = make_problem(), TableValue((make_problem(), tree))
    rows = table(problem.prompt, tree)
    skewed = {state: [(row[0][0], 5.0), *row[1:]] for state, row in rows.items()}
    config = make_config(
        algorithm="mcts", k=5, n=n, exploration=10.0, exploration_rule=exploration_rule
    )
    before = 0.0
    for tokens in (8, 16, 24, 40, 60, 10**6):
        budget, policy = Budget(tokens, 10**6, 10**6), ScriptedPolicy(skewed)
        [result] = run([problem], config, budget, policy, value, run_seed=1)
        score = result.best.score if result.best else 0.0
        assert score >= before
        before = score


def test_votes() -> None:
    tree: Tree = {"a\n": {"X": 0.25}, "b\n": {"X": 0.25}, "c\n": {"Y": 1.0}}
    majority = make_config(algorithm="self_consistency", n=300)
    [result] = search([tree], majority, AMPLE)
    assert result.best is not None
    assert result.best.state.steps[-1].text == "X"
    assert result.best.score == pytest.approx(2 / 3, abs=0.1)
    assert result.value_calls == 0
    weighted = make_config(algorithm="self_consistency", vote="q", n=300)
    [result] = search([tree], weighted, AMPLE)
    assert result.best is not None
    assert result.best.state.steps[-1].text == "Y"
    assert result.best.score == pytest.approx(1.0 / 1.5, abs=0.1)
    assert result.value_calls == 3  # each distinct rollout once


@pytest.mark.parametrize(
    ("step_values", "expected"), [("last", 1.0), ("min", 0.25), ("product", 0.25), ("mean", 0.625)]
)
def test_step_values_of_best_of_n(step_values: str, expected: float) -> None:
    problem, tree = make_problem(), {"a\n": {"X": 1.0}}
    value = TableValue((problem, tree))
    value.table["q\na\n"] = 0.25
    config = make_config(algorithm="best_of_n", n=2, step_values=step_values)
    [result] = run([problem], config, AMPLE, make_policy((problem, tree)), value, run_seed=1)
    assert result.best is not None and result.best.score == expected
