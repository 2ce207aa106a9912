"""The page of all runs of a folder or bucket, as one HTML file without a script.

The rules of safety are those of `qstar_core.evaluation.report`. Its links are relative, so it is
right on a disk, in a bucket and behind any server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qstar_core.evaluation import charts, wording
from qstar_core.evaluation.report import (
    COLOURS,
    content_security_policy,
    method_colours,
    source,
    templates,
)
from qstar_core.evaluation.trend_charts import trend_chart

Row = Mapping[str, Any]


def render(found: Row, place: str, created: str) -> str:
    """The HTML page.

    Args:
        found: of `qstar_core.provenance.runs.runs`.
        place: folder or bucket, as it is shown.
        created: date and time, ISO 8601.
    """
    return (
        templates()
        .get_template("index.html.j2")
        .render(
            place=place,
            created=created,
            groups=[_group(name, nights) for name, nights in found["nights"].items()],
            comparisons=sorted(found["comparisons"], key=lambda each: each["created"])[::-1],
            unread=found["unread"],
            style=source("report.css"),
            policy=content_security_policy(None),
        )
    )


def _group(name: str, nights: Sequence[Row]) -> dict[str, Any]:
    """One run with its nights, the newest first, and the drawing of all."""
    rows = [row for night in nights for row in night["methods"]]
    colours = method_colours(nights[-1]["methods"])
    for row in rows:
        colours.setdefault(row["method"], len(colours) % COLOURS + 1)
    return {
        "name": name,
        "summary": trend(nights),
        "colours": colours,
        "methods": list(colours),
        "drawings": [(kind, trend_chart(nights, size)) for kind, size in charts.SIZES.items()],
        "nights": [
            {**night, "number": number, "by_method": {r["method"]: r for r in night["methods"]}}
            for number, night in enumerate(nights, 1)
        ][::-1],
    }


def trend(nights: Sequence[Row]) -> list[str]:
    """What the nights say, in sentences: the newest, the change since the first, what changed.

    Args:
        nights: in order, of one run.
    """
    last = wording.headline(nights[-1]["methods"])
    if last is None:
        return [f"{len(nights):,} runs."]
    name, share = last["method"], wording.percent(last["accuracy"])
    low, high = wording.percent(last["low"]), wording.percent(last["high"])
    said = [f"Newest: {name} {share} % (95 % interval {low} to {high})."]
    first = next((row for row in nights[0]["methods"] if row["method"] == name), None)
    if first is not None and len(nights) > 1:
        moved = wording.points(last["accuracy"] - first["accuracy"])
        said.append(f"{moved} points since the first of {len(nights):,} runs.")
    changed = [str(number) for number, night in enumerate(nights, 1) if night["changes"]]
    if changed:
        said.append(f"The configuration changed before run {', '.join(changed)}.")
    elif len(nights) > 1:
        said.append("The configuration never changed.")
    return said
