"""What the report's script reads: the list of problems, and their trees in parts.

Both are JSON, compressed with gzip and written in base64, whose letters mean nothing to HTML or
JavaScript, so a text of a model cannot leave its place. The list has what is searched and filtered
by. A part has the trees of `PART` problems and is read when one of them is opened. The first parts
stand in the page, up to `INLINE_BYTES`; the others lie beside it as scripts, because a page that is
opened from a disk may load scripts but not fetch data.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from qstar_core.evaluation import trees
from qstar_core.evaluation.compare import FAILURES, OUTCOMES
from qstar_core.evaluation.why import why
from qstar_core.evaluation.wording import visible

PART = 25
"""Problems whose trees are read together."""
INLINE_BYTES = 6_000_000
"""Of the parts that stand in the page; with the list of 2,000 problems it stays below 15 MB."""
DIGITS = 4
"""Significant digits of a node's figures; the page shows two decimals."""
FIGURES = ("logprob", "q", "reward", "g", "h", "f")
END, CHOSEN, RIGHT, WRONG = 1, 2, 4, 8

Row = Mapping[str, Any]


@dataclass
class Explorer:
    """The problems of a report.

    Attributes:
        heads: the list, in base64.
        inline: parts that stand in the page, in base64.
        beside: content of the files beside the page, by name.
        problems: how many there are.
        trees: how many of them have their trees.
    """

    heads: str
    inline: list[str] = field(default_factory=list)
    beside: dict[str, str] = field(default_factory=dict)
    problems: int = 0
    trees: int = 0


def explorer(
    searches: pl.DataFrame,
    shown: Collection[str],
    methods: Sequence[Row],
    *,
    headline: str | None,
    baseline: str | None,
    stem: str | None = None,
    changes: Mapping[str, Mapping[str, int]] | None = None,
) -> Explorer:
    """The problems of a report, in the order of the searches.

    Args:
        searches: `qstar_core.evaluation.run.SCHEMA`; ``reason`` may be missing.
        shown: ids of the problems whose trees are in the report.
        methods: name and colour, in the order in which they are shown.
        headline: the method that the report is about.
        baseline: the method that it is compared with.
        stem: begin of the names of the files beside the page; None has none, all stands in it.
        changes: against another run: by problem id and method, 1 where it was lost there and is
            solved now, -1 for the reverse, 0 where nothing changed.

    Raises:
        ValueError: the nodes of a search do not form a tree.
    """
    places = {row["name"]: place for place, row in enumerate(methods)}
    heads: dict[str, list[Any]] = {}
    details: list[list[Any]] = []
    for row in searches.iter_rows(named=True):
        head = heads.get(row["problem_id"])
        if head is None:
            at = len(details) if row["problem_id"] in shown else -1
            if at >= 0:
                details.append([None] * len(methods))
            head = heads[row["problem_id"]] = _head(row, len(methods), at, changes, places)
        place = places[row["method"]]
        head[3][place] = _result(row)
        if head[4] >= 0:
            details[head[4]][place] = _details(row)
    parts = [_packed(details[k : k + PART]) for k in range(0, len(details), PART)]
    found = Explorer("", problems=len(heads), trees=len(details))
    names = _place(found, parts, stem)
    found.heads = _packed(
        {
            "methods": [dict(row) for row in methods],
            "outcomes": list(OUTCOMES),
            "failures": list(FAILURES),
            "headline": places.get(headline or ""),
            "baseline": places.get(baseline or ""),
            "part": PART,
            "files": names,
            "problems": list(heads.values()),
        }
    )
    return found


def _place(found: Explorer, parts: Sequence[str], stem: str | None) -> dict[int, str]:
    """Puts the parts into the page or beside it; returns the names of those files by number."""
    size, names = 0, {}
    for number, part in enumerate(parts):
        size += len(part)
        if stem is None or size <= INLINE_BYTES:
            found.inline.append(part)
        else:
            names[number] = f"{stem}-trees-{number:04d}.js"
            found.beside[names[number]] = f'qstarPart({number},"{part}");\n'
    return names


def _head(
    row: Row,
    methods: int,
    at: int,
    changes: Mapping[str, Mapping[str, int]] | None,
    places: Mapping[str, int],
) -> list[Any]:
    """A problem in the list: id, prompt, reference, results, place of its trees, changes."""
    change = None
    if changes is not None:
        change = [0] * methods
        for name, value in changes.get(row["problem_id"], {}).items():
            if name in places:
                change[places[name]] = value
    texts = visible(row["prompt"]), visible(row["reference"])
    return [row["problem_id"], *texts, [None] * methods, at, change]


def _result(row: Row) -> list[Any]:
    """Outcome, answer, tokens and returned steps of one search."""
    steps = [visible(step) for step in row["steps"]]
    return [OUTCOMES.index(row["outcome"]), visible(row["answer"]), row["policy_tokens"], steps]


def _details(row: Row) -> dict[str, Any]:
    return {
        "reason": visible(row.get("reason") or ""),
        "why": visible(" ".join(why(row))),
        "score": _short(row["score"]),
        "calls": row["value_calls"],
        "expansions": row["expansions"],
        "finished": row["finished"],
        "stop": row["stop_reason"],
        "tree": _tree(row["nodes"]),
    }


def _tree(nodes: Sequence[Row]) -> dict[str, list[Any]] | None:
    """A tree by columns: parents before their children, siblings the likeliest first."""
    root = trees.nest(nodes)
    if root is None:
        return None
    ordered = list(trees.walk(root))
    place = {node["node"]: at for at, node in enumerate(ordered)}
    grades = {"right": RIGHT, "wrong": WRONG, "": 0}
    return {
        "id": [node["node"] for node in ordered],
        "up": [place.get(node["parent"], -1) for node in ordered],
        "text": [visible(node["text"]) for node in ordered],
        "order": [node["order"] for node in ordered],
        "flags": [
            END * bool(node["terminal"]) + CHOSEN * bool(node["chosen"]) + grades[node["grade"]]
            for node in ordered
        ],
        **{name: [_short(node[name]) for node in ordered] for name in FIGURES},
    }


def _short(value: float | None) -> float | None:
    """A figure with as many digits as are shown; None where it is no number."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def _packed(content: Any) -> str:
    """JSON, compressed, in base64; equal content gives equal text."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def unpacked(text: str) -> Any:
    """What `_packed` has packed."""
    return json.loads(gzip.decompress(base64.b64decode(text)))
