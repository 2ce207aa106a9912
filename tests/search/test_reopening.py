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
from qstar_core.search import SearchResult
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


def test_f_again_worked_by_hand() -> None:
    """g = 0.5, h = 0.75, lambda = 2, u = 1/6: 0.5 + 2 * 0.75 / 6 = 0.75."""
    tree = Nodes(Q, make_config(reopen=True, lam=2.0))
    node = tree.add(tree.root, Step("a\n", 2), 0.75)
    node.g = 0.5
    tree.rank(node, 0.75)
    assert node.f == 2.0
    assert f_again(node, Counts({A: 3, B: 1, C: 2}), tree) == pytest.approx(0.75)
    assert f_again(node, Counts({A: 1, B: 1}), tree) == node.f  # nothing is known: as before
    assert f_again(node, Counts({A: 2, B: 2}), tree) is None
    assert f_again(node, Counts(), tree) is None


def test_f_again_of_the_question_takes_1_for_h_and_the_best_first_steps_g() -> None:
    """Largest g 0.25, h = 1, lambda = 2, u = 1/4: 0.25 + 2 * 1 / 4 = 0.75."""
    tree = Nodes(Q, make_config(reopen=True, lam=2.0))
    for text, g in (("a\n", 0.25), ("b\n", -0.5)):
        tree.add(tree.root, Step(text, 2), 0.125).g = g
    deeper = tree.add(tree.nodes[1], Step("a\n", 2), 0.125)
    deeper.g = 9.0
    assert f_again(tree.root, Counts({A: 3, B: 1}), tree) == pytest.approx(0.75)
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
    """K = 2, N = 1. After a, B (0.5): u = 1, so f_again = 1 > 0.5. After B, d: u = 2/4 = 0.5 ties
    with B, which is deeper, and d (1.0) comes before both."""
    tree: Tree = {"a\n": {"x": 0.25}, "B": 0.5, "d\n": {"z": 1.0}}
    turns = {"q\n": ["a\n", "B", "B", "d\n"], "q\na\n": ["x"], "q\nd\n": ["z"]}
    result = search(tree, Turns(turns), k=2, n=1)
    assert [node for node, _ in sampled(result)] == [0, 0, 3]
    assert result.best is not None and result.best.state.text == "q\nd\nz"
    assert [node.order for node in result.nodes] == [0, -1, -1, 2, 3]  # the second pop was 0's
    assert result.value_calls == 2 + 1 + 1  # B is not scored again


def test_a_terminal_ends_the_search_before_states_that_promise_less() -> None:
    """N = 1: the question returns with f_again = 0.5 and waits behind B with 0.75."""
    tree: Tree = {"a\n": {"x": 1.0}, "B": 0.75}
    turns = {"q\n": ["B", "B", "B", "a\n"], "q\na\n": ["x"]}
    result = search(tree, Turns(turns), k=2, n=1)
    assert result.best is not None and result.best.score == 0.75
    assert len(sampled(result)) == 1  # u = 0: every action came twice
    result = search({"a\n": {"x": 1.0}, "B": 0.75, "C": 0.25}, Turns(_padded(turns)), k=4, n=1)
    assert result.best is not None and result.best.score == 0.75
    assert len(sampled(result)) == 1  # u = 1/4


def _padded(turns: dict[str, list[str]]) -> dict[str, list[str]]:
    return {**turns, "q\n": ["B", "B", "B", "C", "a\n"]}


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
        once = sum(count == 1 for count in drawn[at].values())
        g = node.g if at else max(result.nodes[i].g for i in drawn[0])
        if once:
            h = 1.0 if node.h is None else node.h
            frontier[at] = g + lam * h * (once / drawn[at].total())
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
