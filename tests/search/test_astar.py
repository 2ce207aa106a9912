"""A* against the definitions of the paper, on random small trees with exact Q."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.config import SearchConfig
from qstar_core.search.budget import Budget
from qstar_core.search.driver import run
from qstar_core.search.trace import Node, SearchResult
from tests.search.trees import (
    AMPLE,
    EXAMPLE,
    TableValue,
    Tree,
    exact_q,
    make_config,
    make_policy,
    make_problem,
    optimum,
    step_reward,
    trees,
)

Q = make_problem()
AGGREGATES: dict[str, Callable[[list[float]], float]] = {
    "min": min,
    "max": max,
    "sum": math.fsum,
    "last": lambda rewards: rewards[-1],
}


def search(
    tree: Tree, config: SearchConfig, budget: Budget = AMPLE, gamma: float = 1.0
) -> SearchResult:
    value = TableValue((Q, tree), gamma=gamma)
    [result] = run([Q], config, budget, make_policy((Q, tree)), value, run_seed=1)
    assert result.error == ""
    return result


def subtree(tree: Tree, texts: list[str]) -> Tree | float:
    """What lies below a path: actions, or the reward of ending there."""
    node: Tree | float = tree
    for text in texts:
        assert isinstance(node, dict)
        node = node[text]
    return node


def popped(result: SearchResult) -> list[Node]:
    return sorted((n for n in result.nodes if n.order >= 0), key=lambda n: n.order)


def path(result: SearchResult, node: Node) -> list[Node]:
    nodes = [node]
    while nodes[0].parent > 0:
        nodes.insert(0, result.nodes[nodes[0].parent])
    return nodes


@settings(max_examples=100, deadline=None)
@given(tree=trees(), heuristic=st.sampled_from(["edge", "lookahead"]))
def test_first_popped_terminal_is_optimal_with_exact_q(tree: Tree, heuristic: str) -> None:
    result = search(tree, make_config(heuristic=heuristic))
    first = next(node for node in popped(result) if node.terminal)
    texts = [step.text for step in first.state.steps]
    assert subtree(tree, texts) == optimum(tree)
    assert result.best is not None and result.best.state == first.state
    assert result.best.score == optimum(tree)
    assert result.stop_reason == "finished"


@settings(max_examples=50, deadline=None)
@given(tree=trees(), n=st.integers(1, 4), heuristic=st.sampled_from(["edge", "lookahead"]))
def test_pops_hold_the_largest_f_of_the_frontier(tree: Tree, n: int, heuristic: str) -> None:
    config = make_config(heuristic=heuristic, n=n, reward="rules", aggregation="sum")
    result = search(tree, config)
    order = popped(result)
    for at, node in enumerate(order[1:], start=1):
        before = {p.id for p in order[:at]}
        frontier = [m for m in result.nodes if m.parent in before and m.id not in before]
        best = max(m.f for m in frontier if m.f is not None)
        assert node.f == best
        ties = [m for m in frontier if m.f == best]
        assert node is min(ties, key=lambda m: (-len(m.state.steps), m.id))


@settings(max_examples=50, deadline=None)
@given(tree=trees(), aggregation=st.sampled_from(sorted(AGGREGATES)))
def test_lambda_0_orders_by_g_alone_and_asks_for_no_q(tree: Tree, aggregation: str) -> None:
    config = make_config(lam=0.0, n=100, reward="rules", aggregation=aggregation)
    value = TableValue((Q, tree))
    [result] = run([Q], config, AMPLE, make_policy((Q, tree)), value, run_seed=1)
    assert value.calls == result.value_calls == 0
    assert all(node.f == node.g and node.h is None for node in result.nodes[1:])
    order = popped(result)
    for at, node in enumerate(order[1:], start=1):
        before = {p.id for p in order[:at]}
        frontier = [m.g for m in result.nodes if m.parent in before and m.id not in before]
        assert node.g == max(frontier)
    assert result.stop_reason == "exhausted"


@pytest.mark.parametrize("aggregation", sorted(AGGREGATES))
@pytest.mark.parametrize("heuristic", ["edge", "lookahead"])
@settings(max_examples=25, deadline=None)
@given(tree=trees(), lam=st.sampled_from([0.5, 1.0, 3.0]), gamma=st.sampled_from([0.5, 1.0]))
def test_f_is_the_formula_worked_by_hand(
    aggregation: str, heuristic: str, tree: Tree, lam: float, gamma: float
) -> None:
    config = make_config(
        heuristic=heuristic, aggregation=aggregation, lam=lam, n=100, reward="rules"
    )
    result = search(tree, config, gamma=gamma)
    q = exact_q(Q.prompt, tree, gamma)
    for node in result.nodes[1:]:
        rewards = [step_reward(n.text) for n in path(result, node)]
        g = AGGREGATES[aggregation](rewards)
        if heuristic == "edge" or node.terminal:
            h = q[node.state.text]
        else:
            below = subtree(tree, [n.text for n in path(result, node)])
            assert isinstance(below, dict)
            h = max(q[node.state.text + text] for text in below)
        assert node.reward == rewards[-1]
        assert node.g == pytest.approx(g)
        assert node.h == h
        assert node.f == pytest.approx(g + lam * h)
    assert result.nodes[0].g == 0.0


@settings(max_examples=60, deadline=None)
@given(
    tree=trees(),
    n=st.integers(1, 4),
    reward=st.sampled_from(["none", "rules"]),
    aggregation=st.sampled_from(sorted(AGGREGATES)),
)
def test_edge_equals_lookahead_at_gamma_1_with_exact_q(
    tree: Tree, n: int, reward: str, aggregation: str
) -> None:
    edge, lookahead = (
        search(tree, make_config(heuristic=h, n=n, reward=reward, aggregation=aggregation))
        for h in ("edge", "lookahead")
    )
    assert edge.best == lookahead.best
    assert edge.finished == lookahead.finished
    there = lookahead.nodes[: len(edge.nodes)]
    assert [m.to_dict() | {"q": 0, "tokens": 0} for m in edge.nodes] == [
        m.to_dict() | {"q": 0, "tokens": 0} for m in there
    ]
    left = lookahead.nodes[len(edge.nodes) :]
    assert all(node.terminal and node.order < 0 and node.f is not None for node in left)


def test_lookahead_reuses_the_sampled_children() -> None:
    config = make_config(heuristic="lookahead", n=100)
    value = TableValue((Q, EXAMPLE))
    [result] = run([Q], config, AMPLE, make_policy((Q, EXAMPLE)), value, run_seed=1)
    assert result.expansions == 3  # the root, a and b: each sampled once
    assert len(value.asked) == len(set(value.asked)) == result.value_calls == 6
    assert len(result.finished) == 4


def test_duplicates_are_merged_before_they_are_scored() -> None:
    value = TableValue((Q, EXAMPLE))
    [result] = run([Q], make_config(n=100), AMPLE, make_policy((Q, EXAMPLE)), value, run_seed=1)
    assert result.policy_tokens == 3 * 40 * 2
    assert result.value_calls == 6
    assert len({node.state.text for node in result.nodes}) == len(result.nodes) == 7


def test_goes_on_until_n_are_finished_and_returns_the_largest_f() -> None:
    config = make_config(n=2, reward="rules", aggregation="last", lam=1.0)
    result = search(EXAMPLE, config)
    assert len(result.finished) == 2
    assert result.best is not None
    assert result.best.score == max(t.score for t in result.finished)
    assert result.stop_reason == "finished"


def test_q_of_a_dead_end_is_harmless() -> None:
    """A step that leads to nothing but cut-off samples leaves the frontier."""
    tree: Tree = {"a\n": {"a long last line of many words": 1.0}, "B": 0.5}
    for heuristic in ("edge", "lookahead"):
        value = TableValue((Q, tree))
        [result] = run(
            [Q],
            make_config(heuristic=heuristic, n=5),
            AMPLE,
            make_policy((Q, tree)),
            value,
            run_seed=1,
            max_step_tokens=4,
        )
        assert result.best is not None and result.best.state.text == "q\nB"
        assert result.stop_reason == "exhausted"


def test_a_budget_that_ends_early_still_counts_generated_terminals() -> None:
    tree: Tree = {"a\n": {"x": 1.0}, "B": 0.25, "C": 0.5}
    budget = Budget(policy_tokens=10**6, value_calls=10**6, expansions=1)
    result = search(tree, make_config(n=1), budget)
    assert result.best is not None and result.best.state.text == "q\nC"
    result = search(tree, make_config(n=6), budget)
    assert [t.score for t in result.finished] == [0.5, 0.25]
    assert result.stop_reason == "budget"


def test_a_budget_that_ends_without_a_terminal_gives_no_trajectory() -> None:
    tree: Tree = {"a\n": {"x": 1.0}}
    result = search(tree, make_config(), Budget(10**6, 10**6, expansions=1))
    assert result.best is None and result.finished == []
    assert result.stop_reason == "budget"
    assert [node.text for node in result.nodes] == ["q\n", "a\n"]
