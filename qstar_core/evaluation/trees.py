"""Search trees for the report: nested nodes for the list, positions for the overview drawing.

Both come from the flat ``nodes`` of a search (`qstar_core.evaluation.run.NODE`). The drawing runs
from left to right, one column per step; leaves get a row each and a parent stands in the middle
of its children.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

COLUMN = 180.0
"""Distance between steps, in drawing units (CSS pixels at natural size)."""
LEAF_PITCH = 15.0
MIN_PITCH = 5.0
MAX_HEIGHT = 900.0
"""Trees with more leaves are drawn closer together, down to `MIN_PITCH`."""
MARGIN = 20.0
LABEL = 160.0
"""Room for a label to the right of the last column."""
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


def draw(root: Nested) -> dict[str, Any]:
    """The overview of a tree.

    Args:
        root: from `nest`.

    Returns:
        width and height in drawing units; nodes (node, x, y, text, label, order, f, terminal,
        chosen, grade, kind) and edges (path, chosen), the chosen ones last so that they lie on top.
        ``kind`` is "root", "expanded", "finished" (a popped terminal), "end" (a terminal
        that was not) or "open"; ``label`` is the shortened text of nodes on the chosen path,
        and ``side`` where it has room: "right" of a leaf, else "above" or "below" the line that
        leads to the node.
    """
    nodes = list(walk(root))
    leaves = [node for node in nodes if not node["children"]]
    pitch = max(MIN_PITCH, min(LEAF_PITCH, MAX_HEIGHT / len(leaves)))
    height = pitch * (len(leaves) - 1) + 2 * MARGIN
    place: dict[int, tuple[float, float]] = {}
    for row, leaf in enumerate(leaves):
        place[leaf["node"]] = (MARGIN + COLUMN * leaf["depth"], MARGIN + pitch * row)
    for node in reversed(nodes):
        if node["children"]:
            ys = [place[child["node"]][1] for child in node["children"]]
            place[node["node"]] = (MARGIN + COLUMN * node["depth"], (ys[0] + ys[-1]) / 2)
    marks = [_mark(node, place) for node in nodes]
    edges = [
        {"path": _curve(*place[node["parent"]], *place[node["node"]]), "chosen": node["chosen"]}
        for node in nodes
        if node is not root
    ]
    depth = max(node["depth"] for node in nodes)
    return {
        "width": round(COLUMN * depth + 2 * MARGIN + LABEL),
        "height": round(height),
        "nodes": sorted(marks, key=_chosen_last),
        "edges": sorted(edges, key=_chosen_last),
    }


def walk(root: Nested) -> Iterable[Nested]:
    """All nodes, parents before their children, in the order of the list."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack += reversed(node["children"])


def _chosen_last(item: Row) -> bool:
    return bool(item["chosen"])


def _mark(node: Nested, place: Mapping[int, tuple[float, float]]) -> dict[str, Any]:
    x, y = place[node["node"]]
    from_y = place.get(node["parent"], (x, y))[1]
    popped = node["order"] >= 0
    if node["depth"] == 0:
        kind = "root"
    elif node["terminal"]:
        kind = "finished" if popped else "end"
    else:
        kind = "expanded" if popped else "open"
    names = ("node", "text", "order", "f", "terminal", "chosen", "grade")
    label = shorten(node["text"]) if node["chosen"] and node["depth"] > 0 else ""
    side = "right" if not node["children"] else "above" if y <= from_y else "below"
    at = {"x": round(x, 1), "y": round(y, 1), "kind": kind, "label": label, "side": side}
    return {**{name: node[name] for name in names}, **at}


def _curve(x0: float, y0: float, x1: float, y1: float) -> str:
    """A flat S from a parent to its child; the bend is nearer to the parent."""
    middle = x0 + 0.4 * (x1 - x0)
    return f"M{x0:.1f} {y0:.1f}C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"


def shorten(text: str, characters: int = LABEL_CHARACTERS) -> str:
    """The text on one line, cut after so many characters with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"
