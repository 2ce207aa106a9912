"""Beams and subtrees on trees whose trajectories end at different depths."""

from __future__ import annotations

from typing import Any

from qstar_core.search.driver import run
from qstar_core.search.trace import SearchResult
from tests.search.trees import AMPLE, TableValue, Tree, make_config, make_policy, make_problem

MIXED: Tree = {
    "a\n": {"d\n": {"g\n": {"P": 0.5}}, "e\n": {"Q": 0.75}},
    "b\n": {"f\n": {"R": 0.25}},
    "C": 1.0,
    "D": 0.0,
}
"""C is the best first step and ends at once; D ends at once and is the worst."""


def search(tree: Tree, **fields: Any) -> SearchResult:
    problem = make_problem()
    config = make_config(**{"n": 1, "reward": "none", **fields})
    value = TableValue((problem, tree))
    [result] = run([problem], config, AMPLE, make_policy((problem, tree)), value, run_seed=1)
    assert result.error == ""
    return result


def written(result: SearchResult) -> list[str]:
    """The paths of the tree, sorted."""
    return sorted("".join(s.text.strip() for s in n.state.steps) for n in result.nodes[1:])


def ends(result: SearchResult) -> list[str]:
    """The finished trajectories, sorted."""
    return sorted("".join(s.text.strip() for s in t.state.steps) for t in result.finished)


def test_a_terminal_child_among_the_best_takes_its_place_with_it() -> None:
    """C and a are the best two; with one place left a's better child e goes on, d does not."""
    result = search(MIXED, algorithm="beam", width=2)
    assert written(result) == ["C", "D", "a", "ad", "ae", "aeQ", "b"]
    assert ends(result) == ["C", "D", "aeQ"]
    assert result.expansions == 3
    assert result.best is not None and result.best.score == 1.0


def test_a_terminal_child_that_is_not_among_the_best_takes_no_place() -> None:
    """Of C, a, b and D the first three stay; C's place is gone, D counts as finished."""
    result = search(MIXED, algorithm="beam", width=3)
    assert written(result) == ["C", "D", "a", "ad", "adg", "adgP", "ae", "aeQ", "b", "bf"]
    assert ends(result) == ["C", "D", "adgP", "aeQ"]


def test_a_beam_whose_places_are_all_taken_along_starts_again() -> None:
    result = search(MIXED, algorithm="beam", width=1, n=4)
    assert written(result) == ["C", "D", "a", "b"]
    assert ends(result) == ["C", "D"] and result.stop_reason == "exhausted"


def test_trajectories_are_numbered_as_they_were_generated() -> None:
    for algorithm in ("beam", "dvts"):
        result = search(MIXED, algorithm=algorithm, width=3)
        numbered = sorted((n for n in result.nodes if n.terminal), key=lambda n: n.order)
        assert [n.order for n in numbered] == list(range(len(numbered)))
        assert [n.id for n in numbered] == sorted(n.id for n in numbered)
        assert [n.state for n in numbered] == [t.state for t in result.finished]


def test_a_subtree_ends_with_its_best_child_and_the_others_go_their_own_ways() -> None:
    """Three subtrees take C, a and b; the one of a then prefers e, whose f is larger."""
    result = search(MIXED, algorithm="dvts", width=3)
    assert written(result) == ["C", "D", "a", "ad", "ae", "aeQ", "b", "bf", "bfR"]
    assert ends(result) == ["C", "D", "aeQ", "bfR"]


def test_subtrees_that_share_a_state_prefer_steps_that_none_has_taken_there() -> None:
    tree: Tree = {"a\n": {"d\n": {"P": 0.5}, "e\n": {"Q": 0.75}}}
    result = search(tree, algorithm="dvts", width=2)
    assert ends(result) == ["adP", "aeQ"]
