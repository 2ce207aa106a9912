"""A* with Good-Turing re-expansion: the formula by hand, and what it does to a search."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.mdp import Step
from qstar_core.policies import Sample, SampleRequest
from qstar_core.search import Node, SearchResult
from qstar_core.search import Tree as Nodes
from qstar_core.search.budget import Budget
from qstar_core.search.driver import run
from qstar_core.search.reopening import Counts, f_again, unseen
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
A, B, C = ("a\n", False), ("b\n", False), ("c", True)
TRAP: Tree = {"a\n": {"x": 0.25}, "b\n": {"y": 1.0}}


class Turns:
    """A policy whose i-th sample of a text is the i-th of a list, round and round."""

    fingerprint = "turns"
    batch_independent = True

    def __init__(self, turns: dict[str, list[str]]) -> None:
        self.turns: dict[str, list[str]] = turns
        self.drawn: Counter[str] = Counter()

    def sample(
        self, requests: Sequence[SampleRequest], done: Callable[[int, int], None] | None = None
    ) -> list[list[Sample]]:
        return [list(self.some(request)) for request in requests]

    def some(self, request: SampleRequest) -> Iterator[Sample]:
        texts = self.turns[request.text]
        for _ in request.seeds:
            text = texts[self.drawn[request.text] % len(texts)]
            self.drawn[request.text] += 1
            yield Sample((Step(text, 2, -1.0, not text.endswith("\n")),), "steps")


def search(tree: Tree, policy: Any = None, budget: Budget = AMPLE, **fields: Any) -> SearchResult:
    config = make_config(**{"reopen": True, **fields})
    policy = policy or make_policy((Q, tree))
    [result] = run([Q], config, budget, policy, TableValue((Q, tree)), run_seed=1)
    assert result.error == ""
    return result


def sampled(result: SearchResult) -> list[tuple[int, list[int]]]:
    """Node and sampled children, for each time that a state was sampled."""
    assert result.exchanges is not None
    asked = [request for turn in result.exchanges["rounds"] for request in turn["requests"]]
    return [(r["node"], list(r["answers"])) for r in asked if r["kind"] == "propose"]


@pytest.mark.parametrize(
    ("counts", "share"),
    [
        ({}, 0.0),
        ({A: 1}, 1.0),
        ({A: 6}, 0.0),
        ({A: 3, B: 1, C: 2}, 1 / 6),
        ({A: 2, B: 2, C: 2}, 0.0),
        ({A: 1, B: 1, C: 1}, 1.0),
        ({A: 4, B: 1, C: 1}, 1 / 3),
    ],
)
def test_u_is_the_share_of_samples_that_came_once(
    counts: dict[tuple[str, bool], int], share: float
) -> None:
    assert unseen(Counts(counts)) == pytest.approx(share)


@given(st.lists(st.sampled_from([A, B, C])))
def test_u_is_a_probability_and_ends_at_0_once_all_came_twice(drawn: list[Any]) -> None:
    assert 0 <= unseen(Counts(drawn)) <= 1
    assert unseen(Counts(drawn + drawn)) == 0


def family(g: float, *children: tuple[str, float, float]) -> tuple[Nodes, Node]:
    """A node below the question with a g, and its children: text, Q, g. lambda is 2."""
    tree = Nodes(Q, make_config(reopen=True, lam=2.0))
    node = tree.add(tree.root, Step("s\n", 2), 0.75)
    node.g = g
    for text, q, own in children:
        tree.add(node, Step(text, 2, ended=not text.endswith("\n")), q).g = own
    return tree, node


def test_f_again_worked_by_hand() -> None:
    """g = 0.5, lambda = 2, n = 6, once b (Q 0.75) and c (0.25): 0.5 + 2 * (0.75 + 0.25) / 6."""
    tree, node = family(0.5, ("a\n", 1.0, 0.5), ("b\n", 0.75, 0.25), ("c", 0.25, 0.5))
    assert f_again(node, Counts({A: 4, B: 1, C: 1}), tree) == pytest.approx(0.5 + 1 / 3)
    assert f_again(node, Counts({A: 3, B: 1, C: 2}), tree) == pytest.approx(0.5 + 2 * 0.75 / 6)
    assert f_again(node, Counts({A: 1, B: 1, C: 1}), tree) == pytest.approx(0.5 + 2 * 2 / 3)
    assert f_again(node, Counts({A: 2, B: 2, C: 2}), tree) is None
    assert f_again(node, Counts(), tree) is None


def test_it_is_u_times_the_mean_q_of_the_actions_that_came_once() -> None:
    tree, node = family(0.0, ("a\n", 1.0, 0.0), ("b\n", 0.75, 0.0), ("c", 0.25, 0.0))
    counts = Counts({A: 4, B: 1, C: 1})
    assert f_again(node, counts, tree) == pytest.approx(2 * unseen(counts) * (0.75 + 0.25) / 2)


def test_an_action_that_value_calls_did_not_suffice_for_adds_nothing() -> None:
    tree, node = family(0.5, ("a\n", 1.0, 0.5))
    assert f_again(node, Counts({A: 1, B: 1}), tree) == pytest.approx(0.5 + 2 * 1.0 / 2)


def test_the_g_of_the_question_is_the_largest_of_its_first_steps() -> None:
    """Largest g 0.25, lambda = 2, n = 4, once b (Q 0.5): 0.25 + 2 * 0.5 / 4 = 0.5."""
    tree = Nodes(Q, make_config(reopen=True, lam=2.0))
    for text, q, g in (("a\n", 1.0, 0.25), ("b\n", 0.5, -0.5)):
        tree.add(tree.root, Step(text, 2), q).g = g
    deeper = tree.add(tree.nodes[1], Step("a\n", 2), 0.125)
    deeper.g = 9.0
    assert f_again(tree.root, Counts({A: 3, B: 1}), tree) == pytest.approx(0.5)
    assert f_again(tree.root, Counts({A: 3}), tree) is None


@pytest.mark.parametrize("fields", [{"reopen": False}, {"reopen": True, "lam": 0.0}])
def test_without_reopen_or_without_h_no_node_returns(fields: dict[str, Any]) -> None:
    tree = Nodes(Q, make_config(**fields))
    node = tree.add(tree.root, Step("a\n", 2), 0.75)
    tree.rank(node, 0.75)
    assert f_again(node, Counts({A: 1}), tree) is None


@pytest.mark.parametrize("heuristic", ["edge", "lookahead"])
@pytest.mark.parametrize("merge", ["text", "state"])
def test_finds_the_good_action_that_one_sample_missed(heuristic: str, merge: str) -> None:
    """The first sample of the question is the bad one; a search that expands once is stuck."""
    turns = {"q\n": ["a\n", "b\n"], "q\na\n": ["x"], "q\nb\n": ["y"]}
    fields = {"k": 1, "n": 6, "heuristic": heuristic, "merge": merge}
    plain = search(TRAP, Turns(turns), reopen=False, **fields)
    assert plain.best is not None and plain.best.state.text == "q\na\nx"
    assert plain.stop_reason == "exhausted"
    again = search(TRAP, Turns(turns), **fields)
    assert again.best is not None and again.best.state.text == "q\nb\ny"
    assert [node.text for node in again.nodes].count("a\n") == 1


def test_the_question_goes_first_while_it_promises_more_than_a_terminal() -> None:
    """K = 2, N = 1. After B (0.25) and c (1.0) c goes first with 1.0, its end w (0.125) is not
    worth it, and the question, u = 1, has f_again = (0.25 + 1.0) / 2: it comes before both ends
    and c, which came back with (0.125 + 0.125) / 2."""
    tree: Tree = {"B": 0.25, "c\n": {"W": 0.125, "V": 0.125}, "d\n": {"z": 0.5}}
    turns = {"q\n": ["B", "c\n", "B", "d\n"], "q\nc\n": ["W", "V"], "q\nd\n": ["z"]}
    value = TableValue((Q, tree))
    value.table["q\nc\n"] = 1.0  # an error of the model
    config = make_config(k=2, n=1, reopen=True)
    [result] = run([Q], config, AMPLE, Turns(turns), value, run_seed=1)
    assert [node for node, _ in sampled(result)] == [0, 2, 0, 5]
    assert result.best is not None and result.best.state.text == "q\nd\nz"
    assert [node.order for node in result.nodes] == [0, -1, 1, -1, -1, 3, 4]  # 2: the question
    assert result.value_calls == 2 + 2 + 1 + 1  # B is not scored again


def test_a_terminal_ends_the_search_before_states_that_promise_less() -> None:
    """N = 1: the question has f_again = 0.25 / 4 and waits behind B with 0.75."""
    tree: Tree = {"a\n": {"x": 1.0}, "B": 0.75, "C": 0.25}
    turns = {"q\n": ["B", "B", "B", "C", "a\n"], "q\na\n": ["x"]}
    result = search(tree, Turns(turns), k=4, n=1)
    assert result.best is not None and result.best.score == 0.75
    assert len(sampled(result)) == 1
    result = search(tree, Turns(turns), k=4, n=3)
    assert result.best is not None and result.best.score == 1.0


@pytest.mark.parametrize("heuristic", ["edge", "lookahead"])
def test_lambda_0_expands_once(heuristic: str) -> None:
    fields = {"k": 1, "lam": 0.0, "n": 9, "heuristic": heuristic}
    assert search(EXAMPLE, **fields) == search(EXAMPLE, **fields, reopen=False)


@settings(max_examples=60, deadline=None)
@given(tree=trees(), k=st.integers(1, 6), merge=st.sampled_from(["text", "state"]))
def test_it_is_exhausted_when_no_state_has_an_action_that_came_once(
    tree: Tree, k: int, merge: str
) -> None:
    result = search(tree, k=k, n=10**6, merge=merge)
    assert result.stop_reason == "exhausted"
    drawn: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for node, answers in sampled(result):
        assert 1 in drawn[node].values() or not drawn[node]  # a state at 0 never returned
        drawn[node].update(answers)
    assert all(1 not in counts.values() for counts in drawn.values())
    assert set(drawn) == {n.id for n in result.nodes if n.order >= 0 and not n.terminal}
    assert len({node.state.text for node in result.nodes}) == len(result.nodes)


@settings(max_examples=60, deadline=None)
@given(
    tree=trees(),
    k=st.integers(1, 4),
    lam=st.sampled_from([0.5, 1.0, 3.0]),
    aggregation=st.sampled_from(["min", "sum", "last"]),
)
def test_every_state_taken_up_has_the_largest_f(
    tree: Tree, k: int, lam: float, aggregation: str
) -> None:
    """The search told once more, from the record of what was sampled."""
    fields = {"reward": "rules", "aggregation": aggregation}
    result = search(tree, k=k, lam=lam, n=10**6, **fields)
    frontier, drawn = {0: 0.0}, defaultdict(Counter)  # type: ignore[var-annotated]
    for at, answers in sampled(result):
        node = result.nodes[at]
        keys = {i: (-f, -len(result.nodes[i].state.steps), i) for i, f in frontier.items()}
        assert keys[at] == min(keys.values())
        del frontier[at]
        for child in map(result.nodes.__getitem__, answers):
            if child.id not in drawn[at] and not child.terminal:
                assert child.f is not None
                frontier[child.id] = child.f
            drawn[at][child.id] += 1
        once = [i for i, count in drawn[at].items() if count == 1]
        g = node.g if at else max(result.nodes[i].g for i in drawn[0])
        if once:
            expected = sum(result.nodes[i].q or 0.0 for i in once) / drawn[at].total()
            frontier[at] = g + lam * expected
    assert frontier == {}


@settings(max_examples=60, deadline=None)
@given(tree=trees(), k=st.integers(1, 6), n=st.integers(1, 4), tokens=st.integers(2, 60))
def test_it_is_right_at_least_where_the_optimum_was_sampled(
    tree: Tree, k: int, n: int, tokens: int
) -> None:
    """With exact Q, g = 0 and no limit but tokens, the best generated terminal is returned."""
    result = search(tree, k=k, n=n, budget=Budget(tokens, 10**6, 10**6))
    ends = [node.f for node in result.nodes if node.terminal and node.f is not None]
    assert (result.best is None) == (not ends)
    if result.best is not None:
        assert result.best.score == max(ends) <= optimum(tree)
