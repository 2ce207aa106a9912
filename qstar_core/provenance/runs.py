"""All runs of an output folder or bucket, night by night, and what changed between two of them.

What is published is the record: evaluations with their reports. Where a schedule has left records
of its runs, ``runs/{name}/{date}.json`` or ``runs/{name}/{date}/{flow}-{key}.json``, that name the
keys of what they made, a run stands at the date of its record, and one whose data sets were there
already stands there too. Without a record a run stands at the time when its evaluation was
published. Late data gives a date a second evaluation; both are shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from qstar_core.errors import UserError
from qstar_core.keys import ID_DIGITS
from qstar_core.provenance.configurations import changed
from qstar_core.store import Store, dataset, open_store
from qstar_core.store.uri import join

MANIFEST = re.compile(
    rf"(evaluation|report|comparison_report)/([0-9a-f]{{{ID_DIGITS}}})/manifest\.json"
)
RECORD = re.compile(r"runs/([A-Za-z0-9._-]+)/([^/]+?)(?:/[^/]+)?(?:\.json)")
KEY = re.compile(rf"(?<![0-9a-f])[0-9a-f]{{{ID_DIGITS}}}(?![0-9a-f])")

NEEDED: dict[str, type[Any]] = {"key": str, "figures": dict, "inputs": dict, "files": list}
"""What the page needs of a manifest, with its type."""

Row = dict[str, Any]


def runs(out: str) -> dict[str, Any]:
    """The runs of an output folder.

    Args:
        out: folder or ``s3://bucket/prefix``.

    Returns:
        ``nights``, by the name of the run: rows in the order of their dates, with name, date (ISO
        8601), created, key (of the evaluation), page (of the report, relative to the folder; empty
        where there is none), methods (rows of `qstar_core.evaluation.compare.compare`), note (why
        its record is not whole; else empty) and changes (rows of
        `qstar_core.provenance.configurations.changed` against the night before).
        ``comparisons``: name, created, key and page of each report of ``qstar compare``.
        ``unread``: manifests and records that cannot be read, with the reason.

    Raises:
        UserError: the place cannot be reached, or nothing in it was evaluated.
    """
    store = open_store(out)
    store.check("OUT")
    names = store.names()
    found: dict[str, dict[str, Row]] = {"evaluation": {}, "report": {}, "comparison_report": {}}
    unread: list[str] = []
    for name in names:
        if match := MANIFEST.fullmatch(name):
            manifest = _manifest(join(out, f"{match[1]}/{match[2]}"), unread)
            if manifest is not None:
                found[match[1]][match[2]] = manifest
    if not found["evaluation"] and not found["comparison_report"]:
        raise UserError(
            f"{out}: nothing there was evaluated, so there is nothing to list",
            next_step="qstar run CONFIG makes evaluations and reports; qstar index takes its out",
        )
    dates = _dates(store, names, found, unread)
    groups: dict[str, list[Row]] = {}
    for key, manifest in found["evaluation"].items():
        made = (_name(manifest), str(manifest.get("created", "")), "")
        for name, date, note in dates.get(key) or [made]:
            night = {**_night(name, date, manifest, found["report"]), "note": note}
            groups.setdefault(name, []).append(night)
    return {
        "nights": {name: _ordered(groups[name], found["evaluation"]) for name in sorted(groups)},
        "comparisons": [_comparison(each) for each in found["comparison_report"].values()],
        "unread": unread,
    }


def _manifest(uri: str, unread: list[str]) -> Row | None:
    """A manifest; one that is damaged must not cost the page of all others."""
    try:
        manifest = dataset.read_manifest(uri)
    except UserError as error:
        unread.append(error.what)
        return None
    lacking = [n for n, kind in NEEDED.items() if not isinstance((manifest or {}).get(n), kind)]
    if not lacking:
        return manifest
    unread.append(f"{uri}: its manifest has no {', '.join(lacking)}")
    return None


def _dates(
    store: Store, names: Iterable[str], found: Mapping[str, Mapping[str, Row]], unread: list[str]
) -> dict[str, list[tuple[str, str, str]]]:
    """(name, date, note) of the records that name an evaluation, by its key."""
    of_report = {key: its["inputs"].get("evaluation", "") for key, its in found["report"].items()}
    dates: dict[str, list[tuple[str, str, str]]] = {}
    for name in names:
        match = RECORD.fullmatch(name)
        if match is None:
            continue
        try:
            text = store.read(name).decode("utf-8", "replace")
            record = json.loads(text)
        except (ValueError, FileNotFoundError) as error:  # damaged, or removed meanwhile
            unread.append(f"{name}: {error}")
            continue
        whole = not isinstance(record, dict) or record.get("whole", True)
        note = "" if whole else str(record.get("note") or "not all stages")
        keys = set(KEY.findall(text))
        keys |= {of_report[key] for key in keys & of_report.keys()}
        for key in sorted(keys & found["evaluation"].keys()):
            places = dates.setdefault(key, [])
            if all(place[:2] != match.groups() for place in places):
                places.append((match[1], match[2], note))
    return dates


def _night(name: str, date: str, manifest: Row, reports: Mapping[str, Row]) -> Row:
    key = manifest["key"]
    its = [r for r in reports.values() if r.get("inputs", {}).get("evaluation") == key]
    newest = max(its, key=lambda report: str(report.get("created", "")), default=None)
    return {
        "name": name,
        "date": date,
        "created": str(manifest.get("created", "")),
        "key": key,
        "page": "" if newest is None else _page("report", newest),
        "methods": manifest["figures"].get("comparison", []),
        "changes": [],
    }


def _page(kind: str, manifest: Row) -> str:
    names = [str(file["name"]) for file in manifest["files"]]
    return f"{kind}/{manifest['key']}/{names[0]}" if names else ""


def _comparison(manifest: Row) -> Row:
    created = str(manifest.get("created", ""))
    page = _page("comparison_report", manifest)
    return {"name": _name(manifest), "created": created, "key": manifest["key"], "page": page}


def _name(manifest: Row) -> str:
    return str(manifest.get("config", {}).get("name", "run"))


def _ordered(nights: list[Row], manifests: Mapping[str, Row]) -> list[Row]:
    """By date, each with what differs from the one before."""
    ordered = sorted(nights, key=lambda night: (night["date"], night["created"]))
    for before, night in pairwise(ordered):
        if night["key"] != before["key"]:
            night["changes"] = changed(manifests[night["key"]], manifests[before["key"]])
    return ordered
