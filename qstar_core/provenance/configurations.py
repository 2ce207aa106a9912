"""What differs between two runs: the fields of their configurations, and their data sets.

Only what can change a row counts. Where a field names the day, as the files of a nightly run do,
the day alone is no difference of the configuration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from qstar_core.config import RunConfig
from qstar_core.provenance.lineage import Node
from qstar_core.provenance.manifests import Manifest, differences

NOT_COMPARED = ("pretrain", "comparison", "card", "name", "out", "runtime")
"""Parts of a configuration that no row of an evaluation depends on."""
MODELS = ("policy", "qvm", "prm")
DAY = re.compile(r"\d{4}[-_]?\d{2}[-_]?\d{2}")
NOTHING = "\N{EN DASH}"

Row = dict[str, Any]


def changed(this: Manifest, other: Manifest) -> list[Row]:
    """The fields that differ between the runs of two evaluations.

    Args:
        this: manifest of one evaluation.
        other: of the one that it is held against.

    Returns:
        Rows with field (dotted), this and other, as texts. Weights that differ under one path are
        the field ``policy.weights`` or its like.
    """
    mine, its = _that_counts(this, other)
    found = [
        {"field": field, "this": _text(now), "other": _text(then)}
        for field, then, now in differences(its, mine)
        if not _same_but_for_the_day(then, now)
    ]
    named = {row["field"] for row in found}
    weights = [(name, other.get("rows_from", {}).get(name)) for name in MODELS]
    for name, then in weights:
        now = this.get("rows_from", {}).get(name)
        if now != then and not any(f.startswith(name) for f in named) and _given(this, name):
            found.append({"field": f"{name}.weights", "this": _text(now), "other": _text(then)})
    return found


def data_sets(this: Node, other: Node) -> list[Row]:
    """The data sets of two runs: stage, this and other (keys, empty where one has none), same."""
    mine, its = _keys(this), _keys(other)
    names = dict.fromkeys([*reversed(list(its)), *reversed(list(mine))])
    pairs = [(name, mine.get(name, ""), its.get(name, "")) for name in names]
    return [
        {"stage": name, "this": now, "other": then, "same": now == then}
        for name, now, then in pairs
    ]


def _keys(node: Node) -> dict[str, str]:
    found = {node.name: node.key}
    for below in node.inputs:
        for name, key in _keys(below).items():
            found.setdefault(name, key)
    return found


def _that_counts(*manifests: Manifest) -> list[dict[str, Any]]:
    """The configurations without what cannot change a row.

    Where one is of another version, with fields that are gone, all are taken as they stand.
    """
    found = [dict(manifest.get("config", {})) for manifest in manifests]
    with suppress(ValidationError):
        found = [RunConfig.model_validate_json(json.dumps(config)).rows() for config in found]
    return [{k: v for k, v in config.items() if k not in NOT_COMPARED} for config in found]


def _given(manifest: Manifest, name: str) -> bool:
    """Whether a model is named by the configuration, not trained by the run."""
    part = manifest.get("config", {}).get(name, {})
    return isinstance(part, Mapping) and part.get("path") is not None


def _same_but_for_the_day(then: Any, now: Any) -> bool:
    if not isinstance(then, str) or not isinstance(now, str):
        return False
    return DAY.sub("DAY", then) == DAY.sub("DAY", now)


def _text(value: Any) -> str:
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
