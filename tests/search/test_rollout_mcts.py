"""The tree search that gathers trajectories, on small trees with graded leaves."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from qstar_core.config import SearchConfig
from qstar_core.mdp import Problem
from qstar_core.policies import Policy
from qstar_core.search.budget import Budget, Ledger
from qstar_core.search.driver import run
from qstar_core.search.rollout_mcts import Gathered, rollout_mcts
from qstar_core.search.trace import Search, SearchResult
from tests.rollouts.toy import TREE, Toy
from tests.search.engines import Restless
from tests.search.trees import AMPLE, make_config, trees

WIDE = make_config(algorithm="mcts", k=40, lam=0.0, exploration_rule="uct")


def gather(
    toy: Toy,
    simulations: int,
    config: SearchConfig = WIDE,
    budget: Budget = AMPLE,
    policy: Policy | None = None,
    active: int = 64,
    rollouts: int = 2,
) -> tuple[list[Gathered], list[SearchResult]]:
    gathered = {problem.id: Gathered(problem) for problem in toy.problems}

    def search(problem: Problem, config: SearchConfig, ledger: Ledger) -> Search:
        algorithm = partial(rollout_mcts, simulations=simulations, rollouts=rollouts)
        return algorithm(problem, config, ledger, gathered=gathered[problem.id])

    engine = policy or toy.policy()
    results = run(
        toy.problems, config, budget, engine, None, run_seed=0, active=active, algorithm=search
    )
    return list(gathered.values()), results


def leaves(tree: Any, before: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if not isinstance(tree, dict):
        return {before}
    return {end for text, child in tree.items() for end in leaves(child, (*before, text))}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees(depth=3))
def test_a_small_tree_is_gathered_whole_and_then_closed(
    tree: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy([tree], monkeypatch)
    [found], [result] = gather(toy, simulations=100)
    assert set(found.ends) == leaves(tree)
    inner = result.expansions
    assert inner == count(tree) and result.stop_reason == "finished"


def count(tree: Any) -> int:
    return 1 + sum(map(count, tree.values())) if isinstance(tree, dict) else 0


def test_the_given_steps_are_those_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy([TREE], monkeypatch)
    [found], [result] = gather(toy, simulations=1)
    # the root alone is expanded: "f" ends there, the others are rolled out after one step
    for texts, (steps, prefix) in found.ends.items():
        assert prefix == (0 if texts == ("f",) else 1)
        assert tuple(step.text for step in steps) == texts
    values = {node.text: node.f for node in result.nodes[1:]}
    assert values["f"] == values["d\n"] == 0.0
    assert len(result.nodes) == 4


def test_it_goes_where_the_answer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy([TREE], monkeypatch)
    greedy = WIDE.model_copy(update={"exploration": 0.1})
    _, [result] = gather(toy, simulations=3, config=greedy, rollouts=40)
    expanded = sorted((n.order, n.text) for n in result.nodes if n.order >= 0)
    assert [text for _, text in expanded][:2] == ["q0\n", "a\n"]


def test_tokens_are_never_exceeded_and_what_was_found_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy = Toy([TREE, TREE], monkeypatch)
    narrow = WIDE.model_copy(update={"k": 2})
    for tokens in (1, 13, 40, 200):
        found, results = gather(toy, 50, narrow, Budget(tokens, 10**6, 10**6))
        assert all(result.policy_tokens <= tokens for result in results)
        assert not [result.error for result in results if result.error]
    assert all(one.ends for one in found)


def test_both_drivers_and_any_number_at_once_find_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy = Toy([TREE, {"g\n": {"yes": 1.0}}, TREE], monkeypatch)
    narrow = WIDE.model_copy(update={"k": 3})
    usual = [one.ends for one in gather(toy, 4, narrow)[0]]
    assert [one.ends for one in gather(toy, 4, narrow, active=1)[0]] == usual
    restless = Restless(toy.policy())
    assert [one.ends for one in gather(toy, 4, narrow, policy=restless)[0]] == usual
