"""The report of an evaluation as one HTML file that needs nothing else.

Texts of models are untrusted. What Jinja2 writes is autoescaped; the problems and their trees are
packed in base64 (`qstar_core.evaluation.explorer`) and put into text nodes by the script. The
content security policy of the page allows no request, and no script but the one whose hash it
names; an escaping that were missed could still not run anything. Only where trees lie beside the
page does it allow scripts of its own origin too.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup

from qstar_core.evaluation import charts, wording
from qstar_core.evaluation.against import Against
from qstar_core.evaluation.chance import at_chance
from qstar_core.evaluation.costs import total
from qstar_core.evaluation.explorer import explorer

TEMPLATES = Path(__file__).parent / "templates"
COLOURS = 6
"""Colours of methods in the style sheet; further methods use them again."""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What every report says of where it comes from.

    Attributes:
        name: of the run.
        key: run key of the report.
        created: date and time, ISO 8601.
        command: the command line that makes it again.
        config: the whole configuration, JSON-serialisable.
        lineage: stage, key, rows of each data set, inputs first.
        environment: of `qstar_core.environment.describe`.
        fingerprints: model fingerprints by role, such as ``policy`` and ``qvm``.
        unsolvable: of `qstar_core.evaluation.wording.unsolvable`.
    """

    name: str
    key: str
    created: str
    command: str
    config: Mapping[str, Any]
    lineage: Sequence[Row]
    environment: Mapping[str, Any]
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    unsolvable: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportData(Origin):
    """What a report of an evaluation shows.

    Attributes:
        comparison: rows of `qstar_core.evaluation.compare.compare`.
        curve: rows of `qstar_core.evaluation.compare.accuracy_by_tokens`.
        searches: `qstar_core.evaluation.run.SCHEMA`, all methods on all problems; ``reason`` may
            be missing.
        shown: ids of the problems whose trees are shown.
        qvm: figures of `qstar_core.values.measuring.figures_of` (calibration, heldout, overall,
            regret, reliability, reliability_before); any of them may be missing, all where the
            model was given.
        labels: of `qstar_core.audit.brief.brief`; None where the model was given.
        costs: rows of `qstar_core.evaluation.costs.costs`.
        price: of a million policy tokens, or None.
        against: the same methods in another run; None leaves that part out.
    """

    comparison: Sequence[Row]
    curve: Sequence[Row]
    searches: pl.DataFrame
    shown: Sequence[str]
    qvm: Mapping[str, Any]
    labels: Row | None = None
    costs: Sequence[Row] = ()
    price: float | None = None
    against: Against | None = None


def render(data: ReportData, beside: dict[str, str] | None = None, stem: str = "report") -> str:
    """The HTML page.

    Args:
        data: of the report.
        beside: takes the files that have to lie beside the page, by name; None puts all into it.
        stem: of the name of the page, with which theirs begin.

    Raises:
        ValueError: the nodes of a search do not form a tree.
    """
    script = Markup("").join(source(name) for name in ("problem.js", "report.js"))
    colours = method_colours(data.comparison)
    best, base = wording.headline(data.comparison), wording.baseline(data.comparison)
    found = explorer(
        data.searches,
        frozenset(data.shown),
        [{"name": row["method"], "colour": colours[row["method"]]} for row in data.comparison],
        headline=best["method"] if best else None,
        baseline=base["method"] if base else None,
        stem=None if beside is None else stem,
        changes=data.against.changes if data.against else None,
    )
    if beside is not None:
        beside.update(found.beside)
    page = templates().get_template("report.html.j2")
    return page.render(
        **_result(data),
        **_value_model(data.qvm),
        headline=best,
        baseline=base,
        colours=colours,
        found=found,
        script=script,
        style=source("report.css"),
        policy=content_security_policy(script, beside=bool(found.beside)),
    )


def _result(data: ReportData) -> dict[str, Any]:
    """What the page says of the methods, the cost and where all comes from."""
    return {
        "data": data,
        "seed": data.config.get("seed"),
        "summary": wording.summary(data.comparison),
        "plainly": wording.plainly(data.comparison, data.searches),
        "failures": wording.failures(data.comparison),
        "marks": [charts.interval_mark(row) for row in data.comparison],
        "curves": [
            ("wide", charts.curve_chart(data.curve)),
            ("narrow", charts.curve_chart(data.curve, charts.NARROW)),
        ],
        "spent": total(data.costs),
        "against": data.against,
        "config_text": json.dumps(data.config, indent=2, ensure_ascii=False, default=str),
        "environment": flatten(data.environment),
    }


def _value_model(qvm: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says of the Q-value model."""
    return {
        "heldout": qvm.get("heldout", ()),
        "at_chance": at_chance(qvm.get("heldout", ())),
        "calibration": qvm.get("calibration"),
        "choices": choices(qvm.get("regret", ())),
        "reliability": charts.reliability_chart(
            qvm.get("reliability", ()), qvm.get("reliability_before", ())
        ),
    }


def choices(regret: Sequence[Row]) -> list[dict[str, Any]]:
    """What the choice of the largest Q loses, by step, against the exact Q* where it is known.

    Args:
        regret: rows of `qstar_core.values.measuring.regret_by_step`.

    Returns:
        Rows with step, exact (whether the measure is Q*) and the figures of the states; steps
        without a choice are left out.
    """
    exact = any(row["truth"] is not None for row in regret)
    rows = [(row["step"], row["truth"] if exact else row) for row in regret]
    return [{**its, "step": step, "exact": exact} for step, its in rows if its["states"]]


def templates() -> jinja2.Environment:
    """The templates of all reports: autoescaped, with the filters of `wording`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=wording.number,
        percent=wording.percent,
        points=wording.points,
        p_value=wording.p_value,
        words=wording.words,
        visible=wording.visible,
    )
    return environment


def source(name: str) -> Markup:
    """A file of ours that is put into a page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # our own file, not data


def content_security_policy(script: str | None, beside: bool = False) -> str:
    """No request of any kind, and no script but this one, or none at all.

    Args:
        script: of the page.
        beside: whether it loads scripts that lie beside the page; those of its origin are allowed
            then. Their hashes cannot be named: browsers check none of files on a disk.
    """
    allowed = "'none'"
    if script is not None:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed = f"'sha256-{digest}'" + (" 'self'" if beside else "")
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def method_colours(rows: Sequence[Row]) -> dict[str, int]:
    """The colour number 1..`COLOURS` of each method: A* first, then the baseline, then the rest."""
    first = [row["method"] for row in (wording.headline(rows), wording.baseline(rows)) if row]
    names = dict.fromkeys([*first, *(row["method"] for row in rows)])
    return {name: i % COLOURS + 1 for i, name in enumerate(names)}


def flatten(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as (dotted name, text) pairs."""
    pairs: list[tuple[str, str]] = []
    for name, part in value.items():
        if isinstance(part, Mapping):
            pairs += flatten(part, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", str(part)))
    return pairs
