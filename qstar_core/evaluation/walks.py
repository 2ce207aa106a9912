"""What a stored tree tells of the way it was searched: visits of MCTS, states that beams kept.

Of a search its nodes are stored; what the algorithm counted meanwhile follows from them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class Walked(NamedTuple):
    """What MCTS knew of an action when it ended (`qstar_core.search.mcts`).

    Attributes:
        visits: n, which starts at 1.
        value: W / n, the mean of its own f and what the walks through it found.
        prior: P among its siblings, in [0, 1]; None where log-probabilities are not stored.
    """

    visits: int
    value: float
    prior: float | None


def walked(nodes: Iterable[Row]) -> dict[int, Walked]:
    """The statistics of every action in the tree of an MCTS, by its node.

    A walk ends at a node that was not expanded before, and gives it its place in the order. So the
    visits of an action are 1 and the walks that ended at it or below.

    Args:
        nodes: of `qstar_core.evaluation.run.NODE`, with the ids of their parents.
    """
    known = {node["node"]: node for node in nodes}
    families: defaultdict[int, list[Row]] = defaultdict(list)
    for node in known.values():
        families[node["parent"]].append(node)
    visits: defaultdict[int, int] = defaultdict(lambda: 1)
    totals = {place: node["f"] or 0.0 for place, node in known.items()}
    for place, node in known.items():
        if node["order"] < 0:
            continue
        below = [child["f"] for child in families.get(place, []) if child["f"] is not None]
        found = max(below, default=node["f"] or 0.0)
        while place in known:
            visits[place] += 1
            totals[place] += found
            place = known[place]["parent"]
    priors = {at: p for family in families.values() for at, p in _priors(family).items()}
    return {at: Walked(visits[at], totals[at] / visits[at], priors.get(at)) for at in known}


def _priors(family: Iterable[Row]) -> dict[int, float]:
    """Softmax of the log-probabilities per token of siblings; none where one is missing."""
    means = {}
    for node in family:
        if node.get("logprob") is None or node.get("step_tokens") is None:
            return {}
        means[node["node"]] = node["logprob"] / max(1, node["step_tokens"])
    top = max(means.values())
    weights = {place: math.exp(mean - top) for place, mean in means.items()}
    total = sum(weights.values())
    return {place: weight / total for place, weight in weights.items()}


def kept(row: Row) -> set[int]:
    """The nodes that a beam search or DVTS extended; other inner ones it pruned.

    Args:
        row: of `qstar_core.evaluation.run.SCHEMA`. Without its record (``exchanges``) those count
            that have children, and a dead end passes for pruned.
    """
    rounds = (row.get("exchanges") or {}).get("rounds")
    if not rounds:
        return {node["parent"] for node in row["nodes"]}
    asked = [request for turn in rounds for request in turn["requests"]]
    return {request["node"] for request in asked if request["kind"] == "propose"}
