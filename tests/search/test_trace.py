from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.mdp import Step
from qstar_core.search.budget import Budget, Ledger
from qstar_core.search.driver import run
from qstar_core.search.requests import Drawn
from qstar_core.search.trace import Tree
from tests.search import trees

Q = trees.make_problem()


@pytest.mark.parametrize("algorithm", ["astar", "best_of_n", "greedy"])
@settings(max_examples=30, deadline=None)
@given(tree=trees.trees(), tokens=st.integers(1, 60))
def test_the_trace_is_a_tree_with_one_chosen_path(
    algorithm: str, tree: trees.Tree, tokens: int
) -> None:
    config = trees.make_config(algorithm=algorithm, k=4, n=5)
    value = trees.TableValue((Q, tree))
    budget = Budget(tokens, 10**6, 10**6)
    [result] = run([Q], config, budget, trees.make_policy((Q, tree)), value, run_seed=3)
    nodes = result.nodes
    assert [node.id for node in nodes] == list(range(len(nodes)))
    assert nodes[0].parent == -1 and nodes[0].text == Q.prompt
    for node in nodes[1:]:
        assert node.parent < node.id
        assert node.state.text == nodes[node.parent].state.text + node.text
        assert node.terminal == (not node.text.endswith("\n"))
    chosen = [node for node in nodes if node.chosen]
    if result.best is None:
        assert chosen == []
    else:
        assert [n.text for n in chosen[1:]] == [s.text for s in result.best.state.steps]
        assert chosen[-1].terminal and chosen[-1].f == result.best.score
    orders = sorted(node.order for node in nodes if node.order >= 0)
    assert orders == list(range(len(orders)))
    assert {t.state for t in result.finished} <= {n.state for n in nodes if n.terminal}
    json.dumps([node.to_dict() for node in nodes], allow_nan=False)


def test_nodes_carry_all_figures() -> None:
    config = trees.make_config(n=100, reward="rules", aggregation="sum", lam=2.0)
    value = trees.TableValue((Q, trees.EXAMPLE))
    policy = trees.make_policy((Q, trees.EXAMPLE))
    [result] = run([Q], config, trees.AMPLE, policy, value, run_seed=3)
    rows = {node.state.text: node.to_dict() for node in result.nodes}
    # R_P: 'b' is 98 % 5 = 3 -> 0.25, 'z' is 122 % 5 = 2 -> 0
    row = rows["q\nb\nz"]
    assert (row["q"], row["reward"], row["g"], row["h"], row["f"]) == (1.0, 0.0, 0.25, 1.0, 2.25)
    assert row["terminal"] and row["chosen"] and row["parent"] == rows["q\nb\n"]["id"]
    assert "state" not in row


def test_add_returns_the_child_that_is_there() -> None:
    tree = Tree(Q, trees.make_config())
    first = tree.add(tree.root, Step("a", 2, ended=True), q=0.5)
    assert tree.add(tree.root, Step("a", 2, ended=True)) is first
    other = tree.add(tree.root, Step("a", 2, ended=False))
    assert other is not first and not other.terminal
    assert tree.add_drawn(Drawn((Step("a", 2, ended=True),), 9)) is first
    assert len(tree.nodes) == 3 and first.tokens == 0
    assert tree.add_drawn(Drawn((Step("b", 2, ended=True),), 11)).tokens == 11


def test_equal_f_returns_the_one_finished_first() -> None:
    tree = Tree(Q, trees.make_config())
    ends = [tree.add(tree.root, Step(text, 2, ended=True)) for text in "abc"]
    for node, h in zip(ends, [0.25, 0.5, 0.5], strict=True):
        tree.rank(node, h)
    result = tree.result(ends, Ledger(trees.AMPLE), done=False)
    assert result.best is not None and result.best.state is ends[1].state
    assert result.stop_reason == "exhausted"
