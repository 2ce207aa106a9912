"""Fitted Q-iteration reaches the exact Q* where the model is a table and all actions are stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.labels.fitted_q import fitted_q_tabular
from tests.labels.paths import GAMMAS, Path, rows, table

DEPTH = 4
Tree = dict[str, "Tree | bool"]
"""Subtrees by action; a leaf says whether the answer is right."""


def trees(depth: int) -> st.SearchStrategy[Tree]:
    leaves: st.SearchStrategy[Tree | bool] = st.booleans()
    below = leaves if depth == 1 else leaves | trees(depth - 1)
    return st.dictionaries(st.sampled_from("abc"), below, min_size=1, max_size=3)


def leaves(tree: Tree | bool, actions: str = "") -> list[Path]:
    if isinstance(tree, bool):
        return [Path(actions, tree)]
    return [path for action, below in tree.items() for path in leaves(below, actions + action)]


def q_star(tree: Tree, gamma: float, actions: str = "") -> dict[str, float]:
    """The exact value of every action, by recursion from the leaves."""
    values: dict[str, float] = {}
    for action, below in tree.items():
        here = actions + action
        if isinstance(below, bool):
            values[here] = float(below)
        else:
            values |= q_star(below, gamma, here)
            values[here] = gamma * max(values[here + following] for following in below)
    return values


@given(trees(DEPTH), GAMMAS, st.randoms())
def test_reaches_q_star(tree: Tree, gamma: float, random: object) -> None:
    paths = leaves(tree)
    random.shuffle(paths)  # type: ignore[attr-defined]
    found = rows(fitted_q_tabular(table(paths), gamma, DEPTH), "action_id", "y")
    exact = q_star(tree, gamma)
    assert {action.removeprefix("p/"): y for action, y in found} == pytest.approx(exact)


@given(trees(DEPTH), GAMMAS)
def test_actions_of_pools_count_among_the_stored(tree: Tree, gamma: float) -> None:
    first, *others = leaves(tree)
    pool = [Path(p.actions, p.correct, "states", len(p.actions) - 1) for p in others]
    found = rows(fitted_q_tabular(table([first, *pool]), gamma, DEPTH), "action_id", "y")
    exact = q_star(tree, gamma)
    for action, y in found:
        assert y == pytest.approx(exact[action.removeprefix("p/")])
