from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.evaluation.trees import nest, shorten, walk


def node(number: int, parent: int, **fields: Any) -> dict[str, Any]:
    names = ("q", "reward", "g", "h", "f")
    return {
        "node": number,
        "parent": parent,
        "text": f"13 - 9 = {number} | 10 4 4 > 24\n",
        **dict.fromkeys(names),
        "order": -1,
        "terminal": False,
        "chosen": False,
        **fields,
    }


@st.composite
def forests(draw_from: st.DrawFn) -> list[dict[str, Any]]:
    """The nodes of one tree in any order."""
    size = draw_from(st.integers(1, 40))
    value = st.none() | st.floats(0, 2)
    rows = [node(0, -1)]
    for i in range(1, size):
        rows.append(node(i, draw_from(st.integers(0, i - 1)), f=draw_from(value)))
    return draw_from(st.permutations(rows))


@given(forests())
def test_every_node_is_in_the_tree_once(rows: list[dict[str, Any]]) -> None:
    root = nest(rows)
    assert root is not None
    nodes = list(walk(root))
    assert sorted(n["node"] for n in nodes) == sorted(row["node"] for row in rows)
    assert root["size"] == len(rows) - 1
    for parent in nodes:
        values = [-math.inf if c["f"] is None else c["f"] for c in parent["children"]]
        assert values == sorted(values, reverse=True)
        for child in parent["children"]:
            assert child["parent"] == parent["node"] and child["depth"] == parent["depth"] + 1


def test_the_chosen_path_is_open() -> None:
    rows = [
        node(0, -1, order=0, chosen=True),
        node(1, 0, order=1, chosen=True, f=1.8),
        node(2, 0, f=1.2),
        node(3, 1, order=2, chosen=True, terminal=True, f=1.9),
        node(4, 1, terminal=True, f=0.1),
    ]
    root = nest(rows)
    assert root is not None
    assert {n["node"]: n["open"] for n in walk(root)} == {
        0: True,
        1: True,
        3: False,
        4: False,
        2: False,
    }


def test_deep_trees() -> None:
    root = nest([node(i, i - 1) for i in range(1500)])
    assert root is not None
    assert max(n["depth"] for n in walk(root)) == 1499


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([node(0, -1), node(1, -1)], "has one root, this one has 2"),
        ([node(0, -1), node(1, 7)], "parent 7 is missing"),
        ([node(0, -1), node(1, 2), node(2, 1)], "cycle"),
    ],
)
def test_what_is_no_tree_is_refused(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nest(rows)


def test_nothing_to_nest() -> None:
    assert nest([]) is None


def test_shortening() -> None:
    assert shorten("13 - 9 = 4 | 10 4 4 > 24\n") == "13 - 9 = 4 | 10 4 4 > 24"
    assert shorten("abc def", 5) == "abc…"


def test_ends_carry_their_grade() -> None:
    grades: list[dict[str, Any]] = [{"correct": True}, {"correct": False}, {"correct": None}, {}]
    root = nest([node(0, -1), *(node(i, 0, **grade) for i, grade in enumerate(grades, start=1))])
    assert root is not None
    assert [child["grade"] for child in root["children"]] == ["right", "wrong", "", ""]
