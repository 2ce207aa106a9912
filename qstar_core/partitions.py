"""Partitions of a run by date, and the record of what each of them published.

A data set's key says what it is, never when it was made, so a night that changes nothing makes
nothing (docs/adr/0013). What a night stands for is its *record*, a small JSON file

    {out}/runs/{name}/{date}/{flow}-{key}.json

that names the data sets the night made or found. ``key`` hashes their keys: the same night again
gives the same file, late data another one beside it. A record is never overwritten.

``{date}`` in any text of a configuration stands for the date of the partition, such as
``train_file: s3://bucket/problems/{date}.jsonl``. Nothing here imports torch.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.store import Store, open_store
from qstar_core.store.uri import join

log = logging.getLogger("qstar_core.partitions")

PLACEHOLDER = "{date}"
RUNS = "runs"
ENTRY = ("kind", "key", "uri", "rows", "made", "seconds")
"""What a record says of each stage."""
_NAME = re.compile(r"(?P<date>\d{4}-\d\d-\d\d)/(?P<flow>[a-z-]+)-(?P<key>[0-9a-f]+)\.json")

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What a run of a partition published.

    Attributes:
        name: of the configuration.
        flow: which made it, such as ``nightly``.
        date: the partition.
        stages: by name: ``kind``, ``key``, ``uri``, ``rows``, ``made`` (by this run, or found) and
            ``seconds`` that making it took.
        whole: whether all stages of the plan are among them.
        note: why they are not.
        created: when the record was made, ISO 8601.
    """

    name: str
    flow: str
    date: date
    stages: dict[str, dict[str, Any]]
    whole: bool = True
    note: str = ""
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def key(self) -> str:
        """Hash of the keys of the data sets; equal for equal nights."""
        keys = {name: stage["key"] for name, stage in self.stages.items()}
        return content_id({"record": keys, "whole": self.whole})

    def to_dict(self) -> dict[str, Any]:
        """As JSON; see the attributes."""
        head: dict[str, Any] = {"name": self.name, "flow": self.flow, "date": self.date.isoformat()}
        head |= {"key": self.key, "created": self.created, "whole": self.whole, "note": self.note}
        return head | {"stages": self.stages}


def stage_entry(manifest: Manifest, *, made: bool, seconds: float = 0.0) -> dict[str, Any]:
    """What a record says of one stage."""
    entry = {name: manifest[name] for name in ("kind", "key", "uri", "rows")}
    return entry | {"made": made, "seconds": round(seconds, 1)}


def fill(tree: Any, day: date | None) -> Any:
    """A configuration's tree with ``{date}`` filled in.

    Args:
        tree: as YAML gives it.
        day: the partition; None where there is none.

    Raises:
        UserError: the tree has ``{date}`` and there is no partition.
    """
    if isinstance(tree, dict):
        return {name: fill(value, day) for name, value in tree.items()}
    if isinstance(tree, list):
        return [fill(value, day) for value in tree]
    if not isinstance(tree, str) or PLACEHOLDER not in tree:
        return tree
    if day is None:
        raise UserError(
            f"{tree!r}: {PLACEHOLDER} stands for the date of a partition, and this run has none",
            next_step=f"qstar run CONFIG --date {date.today().isoformat()}; other commands take "
            "--set FIELD=VALUE with the date in it",
        )
    return tree.replace(PLACEHOLDER, day.isoformat())


def put(out: str, record: Record) -> tuple[str, bool]:
    """Writes a record unless it is there.

    Args:
        out: output folder of the run.
        record: of it.

    Returns:
        Its path or URI, and whether it is new.
    """
    store = open_store(join(out, f"{RUNS}/{record.name}"))
    name = f"{record.date.isoformat()}/{record.flow}-{record.key}.json"
    text = json.dumps(record.to_dict(), indent=1, ensure_ascii=False) + "\n"
    new = store.put_new(name, text.encode())
    return store.path(name), new


def records(
    out: str,
    name: str,
    flow: str | None = None,
    first: date = date.min,
    last: date = date.max,
) -> list[Record]:
    """The records of a run's partitions, by date and then by when they were made.

    Args:
        out: output folder.
        name: of the configuration.
        flow: of these alone; None is all.
        first: date; files of others are not read.
        last: date, included.

    Raises:
        UserError: one of them cannot be read.
    """
    store = open_store(join(out, f"{RUNS}/{name}"))
    named = _by_date(store, flow)
    found = [_read(store, path) for day in named if first <= day <= last for path in named[day]]
    return sorted(found, key=lambda record: (record.date, record.created))


def latest(
    out: str, name: str, flow: str, stage: str, *, until: date, made: bool = False
) -> dict[str, Any] | None:
    """What the last record that has a stage says of it; None where none has.

    A record that cannot be read is passed over with a warning: it must not cost every night.

    Args:
        out: output folder.
        name: of the configuration.
        flow: which made the records.
        stage: name of the stage.
        until: date of the last record that counts; a night that is made up for knows no later one.
        made: whether only records count whose run made it.
    """
    store = open_store(join(out, f"{RUNS}/{name}"))
    named = _by_date(store, flow)
    for day in sorted((day for day in named if day <= until), reverse=True):
        found = []
        for path in named[day]:
            try:
                found.append(_read(store, path))
            except UserError as error:
                log.warning("%s; %s", error.what, error.next_step)
        for record in sorted(found, key=lambda each: each.created, reverse=True):
            entry = record.stages.get(stage)
            if entry is not None and (entry["made"] or not made):
                return entry
    return None


def days(first: date, last: date) -> Iterator[date]:
    """All dates from the first to the last."""
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def missing(out: str, name: str, flow: str, first: date, last: date) -> list[date]:
    """The dates without a record of a whole run.

    Raises:
        UserError: the last date is before the first.
    """
    if last < first:
        raise UserError(
            f"--from {first} is after --to {last}", next_step="swap the two; both are included"
        )
    there = {record.date for record in records(out, name, flow, first, last) if record.whole}
    return [day for day in days(first, last) if day not in there]


def _by_date(store: Store, flow: str | None) -> dict[date, list[str]]:
    """The names of the records by date."""
    found: dict[date, list[str]] = {}
    for path in store.names():
        parts = _NAME.fullmatch(path)
        if parts is not None and flow in (None, parts["flow"]):
            found.setdefault(date.fromisoformat(parts["date"]), []).append(path)
    return found


def _read(store: Store, path: str) -> Record:
    try:
        tree: Mapping[str, Any] = json.loads(store.read(path))
        stages = dict(tree["stages"])
        for entry in stages.values():
            _ = [entry[name] for name in ENTRY]
        return Record(
            str(tree["name"]),
            str(tree["flow"]),
            date.fromisoformat(tree["date"]),
            stages,
            bool(tree["whole"]),
            str(tree["note"]),
            str(tree["created"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{store.path(path)} is no record of a run: {said}",
            safe="the data sets that it names are as they were",
            next_step="remove it; the next run of that date writes it anew",
        ) from error
