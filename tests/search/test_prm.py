"""Searches whose process reward is a model's: it is asked in batches, and f is right by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.config import SearchConfig
from qstar_core.errors import UserError
from qstar_core.search.budget import Budget
from qstar_core.search.driver import run
from qstar_core.search.trace import Node, SearchResult
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

AGGREGATES: dict[str, Callable[[list[float]], float]] = {
    "min": min,
    "max": max,
    "sum": math.fsum,
    "last": lambda rewards: rewards[-1],
}
SEARCHES: list[dict[str, Any]] = [
    {"algorithm": "astar"},
    {"algorithm": "astar", "heuristic": "lookahead"},
    {"algorithm": "astar", "lam": 0.0},
    {"algorithm": "beam", "width": 2},
    {"algorithm": "dvts", "width": 2},
    {"algorithm": "mcts"},
    {"algorithm": "best_of_n"},
    {"algorithm": "best_of_n", "lam": 0.0},
    {"algorithm": "greedy", "temperature": 0.0},
]


def name(fields: dict[str, Any]) -> str:
    return "-".join(map(str, fields.values()))


def right(text: str) -> float:
    """P(the last step is right), made up from the whole text, in quarters."""
    return sum(map(ord, text)) % 5 / 4


class ScriptedPrm:
    """A process reward model that remembers what it was asked."""

    fingerprint = "scripted"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        assert list(ended) == [not text.endswith("\n") for text in texts]
        self.batches.append(list(texts))
        return [right(text) for text in texts]


def search(
    forest: Sequence[Tree], config: SearchConfig, budget: Budget = AMPLE, active: int = 64
) -> tuple[list[SearchResult], ScriptedPrm]:
    pairs = [(make_problem(f"q{k}"), tree) for k, tree in enumerate(forest)]
    prm = ScriptedPrm()
    results = run(
        [problem for problem, _ in pairs],
        config,
        budget,
        make_policy(*pairs),
        TableValue(*pairs),
        run_seed=1,
        active=active,
        prm=prm,
    )
    return results, prm


def way(result: SearchResult, node: Node) -> list[Node]:
    nodes = [node]
    while nodes[0].parent > 0:
        nodes.insert(0, result.nodes[nodes[0].parent])
    return nodes


@pytest.mark.parametrize("fields", SEARCHES, ids=name)
@settings(max_examples=25, deadline=None)
@given(tree=trees(), aggregation=st.sampled_from(sorted(AGGREGATES)))
def test_g_is_the_aggregate_of_what_the_model_says(
    fields: dict[str, Any], tree: Tree, aggregation: str
) -> None:
    config = make_config(**fields, reward="prm", aggregation=aggregation, n=5)
    [result], _ = search([tree], config)
    assert result.error == ""
    for node in result.nodes[1:]:
        assert node.reward == right(node.state.text)
        expected = AGGREGATES[aggregation]([right(n.state.text) for n in way(result, node)])
        assert node.g == pytest.approx(expected)
        if node.f is not None:
            h = 0.0 if node.h is None else config.lam * node.h
            assert node.f == pytest.approx(node.g + h)


def test_astar_with_min_by_hand() -> None:
    """q, then a or b or c; R_P of the texts: sum of codes modulo 5, in quarters."""
    [result], prm = search([EXAMPLE], make_config(reward="prm", n=100))
    figures = {n.state.text.removeprefix("q0\n"): (n.reward, n.g, n.f) for n in result.nodes[1:]}
    # "q0\n" adds up to 113 + 48 + 10 = 171; a 97, b 98, c 99, x 120, y 121, z 122, newline 10
    assert figures["c"] == (0.0, 0.0, 0.75)  # 270 % 5 = 0; Q 0.75
    assert figures["a\n"] == (0.75, 0.75, 1.25)  # 278 % 5 = 3; Q 0.5
    assert figures["b\n"] == (1.0, 1.0, 2.0)  # 279 % 5 = 4; Q 1
    assert figures["a\nx"] == (0.75, 0.75, 1.0)  # 398 % 5 = 3; Q 0.25
    assert figures["a\ny"] == (1.0, 0.75, 1.25)  # 399 % 5 = 4, but a min before; Q 0.5
    assert figures["b\nz"] == (0.25, 0.25, 1.25)  # 401 % 5 = 1; Q 1
    assert result.best is not None and result.best.score == 1.25
    assert result.value_calls == 2 * 6  # each action by both models
    assert sorted(text for batch in prm.batches for text in batch) == sorted(
        node.state.text for node in result.nodes[1:]
    )


def test_requests_of_all_searches_make_one_batch() -> None:
    results, prm = search([EXAMPLE] * 4, make_config(reward="prm", n=1))
    assert all(result.stop_reason == "finished" for result in results)
    assert len(prm.batches[0]) == 4 * 3  # a, b, c of each


@pytest.mark.parametrize("fields", SEARCHES, ids=name)
@settings(max_examples=25, deadline=None)
@given(
    forest=st.lists(trees(), min_size=1, max_size=3),
    limits=st.tuples(st.integers(1, 60), st.integers(1, 20), st.integers(1, 8)),
)
def test_budgets_hold_for_both_models_and_results_do_not_depend_on_the_others(
    fields: dict[str, Any], forest: list[Tree], limits: tuple[int, int, int]
) -> None:
    config = make_config(**fields, reward="prm", k=3, n=3)
    results, prm = search(forest, config, Budget(*limits))
    assert search(forest, config, Budget(*limits), active=1)[0] == results
    assert sum(map(len, prm.batches)) <= sum(result.value_calls for result in results)
    for result in results:
        assert result.error == ""
        assert result.value_calls <= limits[1]
        ranked = [node for node in result.nodes[1:] if node.f is not None]
        if config.algorithm != "greedy":  # its one trajectory is the answer, judged or not
            assert all(n.reward is not None for node in ranked for n in way(result, node))


@pytest.mark.parametrize("algorithm", ["self_consistency", "best_first"])
def test_algorithms_without_a_reward_do_not_ask(algorithm: str) -> None:
    [result], prm = search([EXAMPLE], make_config(algorithm=algorithm, reward="prm", n=4))
    assert result.best is not None and prm.batches == []
    config = make_config(algorithm=algorithm, reward="prm")
    assert run([], config, AMPLE, make_policy(), TableValue(), run_seed=1) == []


def test_a_method_that_asks_needs_the_model() -> None:
    with pytest.raises(UserError, match="there is no process reward model") as raised:
        run([], make_config(reward="prm"), AMPLE, make_policy(), TableValue(), run_seed=1)
    assert "prm.path" in raised.value.next_step


def test_a_model_that_lies_fails_its_search_alone() -> None:
    class Liar(ScriptedPrm):
        def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
            return [2.0 if text.startswith("q0") else 0.5 for text in texts]

    pairs = [(make_problem(f"q{k}"), EXAMPLE) for k in range(2)]
    results = run(
        [problem for problem, _ in pairs],
        make_config(reward="prm"),
        AMPLE,
        make_policy(*pairs),
        TableValue(*pairs),
        run_seed=1,
        prm=Liar(),
    )
    assert [result.stop_reason for result in results] == ["error", "finished"]
    assert results[0].error.startswith("ValueError: R_P of the process reward model must be in")
