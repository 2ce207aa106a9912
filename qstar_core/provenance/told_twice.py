"""What a manifest says twice, or a receipt says too, must agree: whoever changes one is found.

The run key is the hash of ``rows_from``; seed and settings stand in ``rows_from`` and in the
configuration; the keys of inputs in ``inputs`` and in ``rows_from``; files and figures in the
manifest and in the receipts of the shards; a range of problems in the name of a shard.
"""

from __future__ import annotations

import re
from typing import Any

from qstar_core.keys import content_id
from qstar_core.provenance.manifests import Manifest, place

Receipt = dict[str, Any]

SECTIONS = {"rollouts": "rollouts", "evaluation": "evaluation"}
"""Sections of the configuration whose fields stand in a stage's ``rows_from`` under their names."""
PATHS = ("rollouts.import_file",)
"""Fields that say where a file lies; ``rows_from`` has its content under the same name."""
RANGE = re.compile(r"(.*)p(\d{7,})-(\d{7,})")
"""What comes before it, first problem, and the one after the last, in the name of a shard."""


def contradictions(folder: str, manifest: Manifest) -> list[str]:
    """Where a manifest contradicts itself or the name of its folder, one sentence each.

    Args:
        folder: of the data set.
        manifest: in the right form; a checkpoint's has no key.
    """
    key, rows_from = manifest.get("key"), manifest.get("rows_from")
    if key is None or not rows_from:
        return []
    found = []
    where, hashed = place(folder), content_id(rows_from)
    if hashed != key:
        found.append(f"its key {key} is not the hash of rows_from ({hashed}): one was changed")
    if where is not None and where[2] != key:
        found.append(f"its key is {key}, its folder is named {where[2]}")
    if rows_from.get("stage", manifest["kind"]) != manifest["kind"]:
        found.append(f"it is of kind {manifest['kind']}, rows_from of stage {rows_from['stage']}")
    total = sum(entry.get("rows") or 0 for entry in manifest["files"])
    if total != manifest.get("rows"):
        found.append(f"it says {manifest.get('rows')} rows, its files have {total}")
    return found + _settings(manifest) + _input_keys(manifest)


def _settings(manifest: Manifest) -> list[str]:
    """Seed and settings, in the configuration and in what the key is made from."""
    rows, config = manifest["rows_from"], manifest.get("config", {})
    section = SECTIONS.get(manifest["kind"], "")
    own = config.get(section)
    fields = own.items() if isinstance(own, dict) else ()
    told = {f"{section}.{name}": (name, value) for name, value in fields}
    told = {path: pair for path, pair in told.items() if path not in PATHS}
    found = []
    for path, (name, value) in {"seed": ("seed", config.get("seed")), **told}.items():
        if name in rows and isinstance(rows[name], int | float | str) and rows[name] != value:
            found.append(f"{path} is {value} in config and {rows[name]} in rows_from")
    for split in ("train", "test"):
        part = rows.get(split)
        if isinstance(part, dict) and part.get("seed", config.get("seed")) != config.get("seed"):
            found.append(
                f"seed is {config.get('seed')} in config and {part['seed']} in rows_from.{split}"
            )
    return found


def _input_keys(manifest: Manifest) -> list[str]:
    rows = manifest["rows_from"]
    return [
        f"its input {name} is {value} in inputs and {rows[name]} in rows_from"
        for name, value in manifest.get("inputs", {}).items()
        if isinstance(rows.get(name), str) and rows[name] != value
    ]


def receipt_errors(receipt: Receipt, shard: str, manifest: Manifest) -> list[str]:
    """Where the receipt of a shard and the manifest do not say the same."""
    entries = {entry["name"]: entry for entry in manifest["files"]}
    found = []
    if receipt["shard"] != shard:
        found.append(f"the receipt of shard {receipt['shard']}, not of {shard}")
    for entry in receipt["files"]:
        there = entries.get(entry["name"])
        if there is None:
            found.append(f"names {entry['name']}, which the manifest does not")
        elif there != entry:
            fields = sorted(n for n in {*entry, *there} if entry.get(n) != there.get(n))
            found.append(f"{', '.join(fields)} of {entry['name']} are others in the manifest")
    ours = next(part["figures"] for part in manifest["shards"] if part["shard"] == shard)
    its = receipt["figures"]
    others = sorted(n for n in {*ours, *its} if repr(ours.get(n)) != repr(its.get(n)))  # NaN too
    if others:
        found.append(f"its figures {', '.join(others)} are others in the manifest")
    return found


def order_errors(receipts: dict[str, Receipt], manifest: Manifest) -> list[str]:
    """Whether files stand in the order of their shards, and ranges of problems join.

    Args:
        receipts: of all shards, by their names.
        manifest: with the same shards.
    """
    shards = [part["shard"] for part in manifest["shards"]]
    asked = [entry["name"] for shard in shards for entry in receipts[shard]["files"]]
    there = [entry["name"] for entry in manifest["files"] if entry["name"] in set(asked)]
    found = []
    for ours, its in zip(there, asked, strict=False):
        if ours != its:
            found.append(f"{ours} stands where {its} belongs: files are not in shard order")
            break
    if missing := sorted(set(asked) - set(there)):
        found.append(f"files of finished shards are not named: {', '.join(missing)}")
    return found + _gaps(shards)


def _gaps(shards: list[str]) -> list[str]:
    """Ranges of problems that overlap, leave some out, or do not follow each other."""
    ends: dict[str, int] = {}
    found = []
    for shard in shards:
        name = RANGE.fullmatch(shard)
        if name is None:
            continue
        start, stop = int(name[2]), int(name[3])
        if start != ends.get(name[1], 0):
            found.append(f"shard {shard} does not follow problem {ends.get(name[1], 0)}")
        ends[name[1]] = stop
    if len(set(ends.values())) > 1:
        found.append("shards of different methods end at different problems")
    return found


def columns_in_words(said: list[list[str]], there: list[list[str]]) -> str:
    """How the columns of a file differ from those of the manifest."""
    before, now = (dict(columns) for columns in (said, there))
    parts = [f"no {name}" for name in before if name not in now]
    parts += [f"also {name}" for name in now if name not in before]
    parts += [
        f"{name} is {now[name]}, not {kind}"
        for name, kind in before.items()
        if name in now and now[name] != kind
    ]
    return f"columns are not those of the manifest: {', '.join(parts) or 'another order'}"
