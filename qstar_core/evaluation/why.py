"""Why a search returned what it returned, in sentences, from its stored tree alone.

Each algorithm is told in its own words: A* by f = g + lambda * h, MCTS by visits, mean value and
prior, beam search and DVTS by scores, what was kept and what was pruned. The stored columns are
those of A* for all of them; `NAMES` says what they are called.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from qstar_core.evaluation.trees import shorten
from qstar_core.evaluation.walks import Walked, kept, walked

Row = Mapping[str, Any]

TEXT_CHARACTERS = 48
DECIMALS = 9
BEAMS = ("beam", "dvts")
BY_F = ("astar", "best_first")
AS_STORED = {"f": "f", "g": "g", "h": "h", "q": "q"}
SCORED = {"f": "score", "g": "rewards", "q": "Q"}  # h is the Q of the last action
NAMES = {
    "mcts": {**SCORED, "f": "value"},
    "beam": SCORED,
    "dvts": SCORED,
    "best_first": {"f": "f", "h": "h", "q": "q"},
}
"""What the columns of nodes are called where that is not `AS_STORED`; others are not shown."""
LEFT = {"mcts": "not expanded", "beam": "not extended", "dvts": "not extended"}
"""What became of a state without children."""
TAKEN_UP = "#n is the order in which states were taken up"
ENDED = "#n numbers the trajectories as they came to an end"
LEGENDS = {
    "astar": f"f = g + lambda h: larger is better. {TAKEN_UP}",
    "best_first": f"f = lambda h: larger is better. {TAKEN_UP}",
    "mcts": "n is the number of visits, V the mean value of what was found by them, P the prior "
    "among the siblings; value = rewards + lambda Q is that of the action by itself. #n numbers "
    "the walks by where they ended",
    "beam": "score = rewards + lambda Q: of each depth the largest are kept, the others pruned. "
    + ENDED,
    "dvts": "score = rewards + lambda Q: each subtree keeps its largest, the others are pruned. "
    + ENDED,
    "best_of_n": f"f = g + lambda h: the largest of the rollouts is returned. {ENDED}",
    "self_consistency": "f is the share of the votes that an answer has. #n numbers the answers "
    "as they first came",
    "greedy": f"f = g. {ENDED}",
}


def legend(algorithm: str, nodes: Sequence[Row] = ()) -> str:
    """What the numbers at the nodes of a tree mean.

    Args:
        algorithm: that built it.
        nodes: of the tree; what only some trees have is explained where it is there.
    """
    said = LEGENDS[algorithm]
    if algorithm in BY_F:
        orders = {node["order"] for node in nodes if node["order"] >= 0}
        if len(orders) <= max(orders, default=-1):
            said += ", and with --all a number that is missing is a state that was taken up again"
        if any(node["f"] is None for node in nodes if node["parent"] >= 0):
            said += "; a state without f was not followed: known already, a dead end, or the "
            said += "budget ended first"
    return f"{said}; * marks the end of a trajectory; log p is in nats."


def again(nodes: Sequence[Row]) -> list[int]:
    """The states that were taken up again (``reopen``) and had new children by that.

    Children of one expansion are inserted one after the other, so a state whose children have
    those of another between them was expanded again. Where no other state had new children in
    between, or it had none itself, that is not recognised.
    """
    parents = [node["parent"] for node in sorted(nodes, key=lambda node: node["node"])]
    runs = Counter(b for a, b in pairwise(parents) if a != b)
    return [place for place, count in runs.items() if count > 1]


def names(algorithm: str) -> Mapping[str, str]:
    """What an algorithm calls the columns f, g, h and q of its nodes; without those it has not."""
    return NAMES.get(algorithm, AS_STORED)


def why(row: Row) -> list[str]:
    """The reasons for the returned path of one search.

    Args:
        row: of `qstar_core.evaluation.run.SCHEMA`; nodes without ``correct`` are taken as not
            graded.

    Returns:
        Sentences: what was returned and by which value, the runner-up, what of it sets them
        apart, what the algorithm went by where their paths part, and which other trajectories were
        right. Empty for a search without a tree.
    """
    nodes = {node["node"]: node for node in sorted(row["nodes"] or [], key=lambda n: n["node"])}
    if not nodes:
        return []
    path = [node for node in nodes.values() if node["chosen"]]
    if not path or not path[-1]["terminal"]:
        return [_nothing(row, nodes.values())]
    best = path[-1]
    ends = [n for n in nodes.values() if n["terminal"] and n["f"] is not None]
    others = sorted((n for n in ends if n is not best and n["f"] <= best["f"]), key=_first_rated)
    rivals = others or _waiting(nodes.values())
    sentences = [_returned(row["algorithm"], best, 1 + len(others))]
    if rivals:
        sentences.append(_runner_up(row["algorithm"], best, rivals[0]))
        sentences += _fork(row, nodes, best, rivals[0])
    return sentences + _right_ones(row["algorithm"], best, others)


def _nothing(row: Row, nodes: Iterable[Row]) -> str:
    waiting = _waiting(nodes)
    said = f"Nothing is returned: no trajectory was finished (ended: {row['stop_reason']})."
    if not waiting:
        return said
    best = f"{_quote(waiting[0])} with {_rated(row['algorithm'], waiting[0])}"
    left = LEFT.get(row["algorithm"], "still to be taken up")
    return f"{said} The best state that was {left} is {best}."


def _waiting(nodes: Iterable[Row]) -> list[Row]:
    """The states that were left without children, the best first."""
    every = list(nodes)
    extended = {node["parent"] for node in every}
    found = [n for n in every if not n["terminal"] and n["f"] is not None]
    return sorted((n for n in found if n["node"] not in extended), key=_first_rated)


def _returned(algorithm: str, best: Row, ends: int) -> str:
    if algorithm == "greedy":
        return "Greedy decoding takes the likeliest token at each place: there was no choice."
    if algorithm == "self_consistency":
        share = f", the most of {ends} answers" if ends > 1 else ", all of them"
        votes = f"{best['f']:.3f} of the votes{share}"
        return f"Returned is the first trajectory whose answer has {votes}."
    f = _f(algorithm, best)
    if ends == 1:
        return f"Returned is the only trajectory that came to an end, with {f}."
    return f"Returned is, of {ends} trajectories that came to an end, the best: {f}."


def _runner_up(algorithm: str, best: Row, rival: Row) -> str:
    if algorithm == "self_consistency":
        return f"The next answer has {rival['f']:.3f} of them, first in {_quote(rival)}."
    left = f"The best state that was {LEFT.get(algorithm, 'not taken up')}, {_quote(rival)},"
    who = f"The runner-up {_quote(rival)}" if rival["terminal"] else left
    said = f"{who} has {_f(algorithm, rival)}"
    if rival["terminal"] and rival["f"] == best["f"]:
        return f"{said}, as large; of equal ones the one finished first is returned."
    parts = []
    for name, called in _parts(algorithm).items():
        a, b = best[name], rival[name]
        if a is not None and b is not None and a != b:
            parts.append("{} ({} against {})".format(called, *_apart(a, b)))
    return f"{said}; what sets them apart is {' and '.join(parts)}." if parts else f"{said}."


def _fork(row: Row, nodes: Mapping[int, Row], best: Row, rival: Row) -> list[str]:
    """Where two paths part, and what the algorithm went by there."""
    ours, theirs = _path(nodes, best), _path(nodes, rival)
    shared = 0
    while shared < min(len(ours), len(theirs)) and ours[shared] is theirs[shared]:
        shared += 1
    if shared >= min(len(ours), len(theirs)):
        return []  # one path is the beginning of the other
    a, b = ours[shared], theirs[shared]
    where = f"after {_quote(ours[shared - 1])}" if shared > 1 else "at the first step"
    said = f"Their paths part {where}: "
    if row["algorithm"] == "mcts":
        seen = walked(nodes.values())
        return [said + _by_walks(a, b, seen[a["node"]], seen[b["node"]])]
    if row["algorithm"] in BEAMS:
        extended = kept(row)
        each = (_by_beams(row["algorithm"], node, extended) for node in (a, b))
        return [f"{said}{', '.join(each)}."]
    return [said + _by_q(a, b, a is best and b is rival)]


def _by_walks(a: Row, b: Row, ours: Walked, theirs: Walked) -> str:
    """What MCTS knew of the two actions."""
    said = f"{_quote(a)} was visited {_walks(ours)}, {_quote(b)} {_walks(theirs)}"
    if ours.visits == theirs.visits:
        return f"{said}: as often."
    which = "the returned path" if ours.visits > theirs.visits else "the other one"
    return f"{said}: the walks preferred {which}."


def _walks(action: Walked) -> str:
    prior = "" if action.prior is None else f", prior {action.prior:.3f}"
    times = "once" if action.visits == 1 else f"{action.visits} times"
    return f"{times} (mean value {action.value:.3f}{prior})"


def _by_beams(algorithm: str, node: Row, extended: set[int]) -> str:
    """Whether a state stayed in the search, with its score."""
    became = "kept" if node["node"] in extended else "pruned"
    f = "" if node["f"] is None else f" ({_rated(algorithm, node)})"
    return f"{_quote(node)}{f} {'came to an end' if node['terminal'] else f'was {became}'}"


def _apart(a: float, b: float) -> tuple[str, str]:
    """Two numbers with three decimals, or as many as show that they differ."""
    pairs = ((f"{a:.{digits}f}", f"{b:.{digits}f}") for digits in range(3, DECIMALS + 1))
    return next((pair for pair in pairs if pair[0] != pair[1]), (f"{a:.3f}", f"{b:.3f}"))


def _by_q(a: Row, b: Row, last: bool) -> str:
    """What Q said of the two actions; ``last`` if both end their trajectory."""
    said = f"{_quote(a)} and {_quote(b)}"
    if a["q"] is None or b["q"] is None:
        return f"{said}; Q was not asked there."
    said += " have Q {} and {} there".format(*_apart(a["q"], b["q"]))
    if last:
        return f"{said}, their last steps."
    if a["q"] > b["q"]:
        return f"{said}: Q favoured the returned path from there on."
    if a["q"] < b["q"]:
        return f"{said}: Q favoured the runner-up there, later steps turned it round."
    return f"{said}: Q left it open, later steps decided."


def _right_ones(algorithm: str, best: Row, others: Sequence[Row]) -> list[str]:
    right = [node for node in others if node.get("correct")]
    if best.get("correct") is None:
        return []
    if best["correct"]:
        return ["The returned trajectory is right."]
    if not others:
        return ["It is wrong."]
    if not right:
        return ["It is wrong, and so is every other trajectory that came to an end."]
    first = right[0]
    return [
        f"It is wrong, and {len(right)} of the others {'is' if len(right) == 1 else 'are'} right: "
        f"the best of them, {_quote(first)}, has {_rated(algorithm, first)}."
    ]


def _path(nodes: Mapping[int, Row], node: Row) -> list[Row]:
    """The nodes from the root to this one."""
    found = [node]
    while found[-1]["parent"] >= 0:
        found.append(nodes[found[-1]["parent"]])
    return found[::-1]


def _first_rated(node: Row) -> tuple[float, float, int]:
    return (-node["f"], node["order"] if node["order"] >= 0 else math.inf, node["node"])


def _f(algorithm: str, node: Row) -> str:
    """What a node is rated by, with what that is made of."""
    made_of = _parts(algorithm).items()
    parts = [f"{called} {node[name]:.3f}" for name, called in made_of if node[name] is not None]
    rated = _rated(algorithm, node)
    return f"{rated} ({', '.join(parts)})" if parts else rated


def _rated(algorithm: str, node: Row) -> str:
    called = names(algorithm)["f"]
    return f"{called}{' =' if called == 'f' else ''} {node['f']:.3f}"


def _parts(algorithm: str) -> dict[str, str]:
    """The columns that f is made of, and what they are called; h may be the Q of a step."""
    called = names(algorithm)
    return {
        column: called.get(column, called["q"])
        for column in ("g", "h")
        if column in called or column == "h"
    }


def _quote(node: Row) -> str:
    text = shorten(node["text"], TEXT_CHARACTERS)
    return f'"{text}"'
