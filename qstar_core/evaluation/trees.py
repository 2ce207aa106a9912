"""Search trees from the flat ``nodes`` of a search (`qstar_core.evaluation.run.NODE`).

The report draws them in the browser, by ``templates/problem.js``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LABEL_CHARACTERS = 24
GRADES: dict[bool | None, str] = {True: "right", False: "wrong"}

Row = Mapping[str, Any]
Nested = dict[str, Any]


def nest(nodes: Sequence[Row]) -> Nested | None:
    """The nodes as one tree.

    Args:
        nodes: rows with node, parent (-1 for the root), text, q, reward, g, h, f, order,
            terminal, chosen and, where they are known, logprob and correct; in any order.

    Returns:
        The root with all its fields and ``children``, the likeliest first (largest f, then the
        order of insertion), ``depth`` (0 for the root), ``size`` (nodes below it), ``open``
        (the root and the inner nodes of the chosen path) and ``grade`` ("right", "wrong" or "").
        None without nodes.

    Raises:
        ValueError: there is not exactly one root, a parent is missing, or nodes form a cycle.
    """
    if not nodes:
        return None
    known: dict[int, Nested] = {
        row["node"]: {"logprob": None, **row, "grade": GRADES.get(row.get("correct"), "")}
        for row in nodes
    }
    for node in known.values():
        node["children"] = []
    roots = [node for node in known.values() if node["parent"] < 0]
    if len(roots) != 1:
        raise ValueError(f"a search tree has one root, this one has {len(roots)}")
    for node in known.values():
        if node["parent"] >= 0:
            if node["parent"] not in known:
                raise ValueError(f"node {node['node']}: its parent {node['parent']} is missing")
            known[node["parent"]]["children"].append(node)
    root = roots[0]
    root["depth"] = 0
    ordered = [root]
    for node in ordered:
        node["children"].sort(key=_likeliest_first)
        node["open"] = bool(node["children"]) and (node["depth"] == 0 or bool(node["chosen"]))
        for child in node["children"]:
            child["depth"] = node["depth"] + 1
        ordered += node["children"]
    if len(ordered) != len(known):
        raise ValueError("the nodes of a search tree form a cycle")
    for node in reversed(ordered):
        node["size"] = sum(1 + child["size"] for child in node["children"])
    return root


def _likeliest_first(node: Row) -> tuple[float, int]:
    f = node["f"]
    return (math.inf if f is None or math.isnan(f) else -f, node["node"])


def walk(root: Nested) -> Iterable[Nested]:
    """All nodes, parents before their children, in the order of the list."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack += reversed(node["children"])


def shorten(text: str, characters: int = LABEL_CHARACTERS) -> str:
    """The text on one line, cut after so many characters with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"
