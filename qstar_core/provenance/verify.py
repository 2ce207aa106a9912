"""Is a data set what was published? Files, receipts, key and inputs against the manifest.

A file is read once, in pieces; on S3 one file at a time is copied to scratch. What the manifest
says twice is compared with itself (`qstar_core.provenance.told_twice`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qstar_core.errors import UserError
from qstar_core.provenance import told_twice
from qstar_core.provenance.manifests import Manifest, folder_of, inputs, place, read
from qstar_core.store import Store, cache, open_store
from qstar_core.store.dataset import MANIFEST, read_complete
from qstar_core.store.uri import is_remote

MALFORMED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What reading JSON of another form may raise."""
SHA_DIGITS = 12  # shown of a sha256


@dataclass(frozen=True)
class Finding:
    """Something about a file of a data set.

    Attributes:
        file: its name.
        what: what is wrong with it, or to be known of it.
        damage: whether the data set is not what was published; False for a remark.
    """

    file: str
    what: str
    damage: bool = True


@dataclass(frozen=True)
class Verified:
    """What was found in one data set; no finding that is damage: it is what was published."""

    uri: str
    kind: str
    key: str
    rows: int
    files: int
    bytes: int
    findings: list[Finding] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing is damaged."""
        return not any(finding.damage for finding in self.findings)


def verify(
    uri: str, deep: bool = False, told: Callable[[str], None] = lambda name: None
) -> list[Verified]:
    """Checks a data set and, if asked, all data sets it was made from.

    Args:
        uri: folder or ``s3://bucket/prefix`` of the data set, or its manifest.
        deep: its inputs too, and theirs, each once.
        told: called with the path of each file before it is read.

    Returns:
        What was found, that of the data set itself first.

    Raises:
        UserError: there is no data set.
        Damaged: its manifest cannot be read.
    """
    start = folder_of(uri)
    waiting, found = [start], dict[str, Verified]()
    while waiting:
        folder = waiting.pop(0)
        if folder in found:
            continue
        try:
            manifest = read(folder)
        except UserError as error:
            if folder == start:
                raise
            found[folder] = _unreadable(folder, error)
            continue
        found[folder] = check(folder, manifest, told=told)
        if deep:
            waiting += inputs(folder, manifest).values()
    return list(found.values())


def _unreadable(folder: str, error: UserError) -> Verified:
    where = place(folder)
    kind, key = where[1:] if where is not None else ("", "")
    return Verified(folder, kind, key, 0, 0, 0, [Finding(MANIFEST, error.what)])


def check(
    folder: str,
    manifest: Manifest,
    with_inputs: bool = True,
    told: Callable[[str], None] = lambda name: None,
) -> Verified:
    """Checks one data set.

    Args:
        folder: of the data set.
        manifest: in the right form.
        with_inputs: whether its inputs have to be there.
        told: called with the path of each file before it is read.
    """
    store, files = open_store(folder), manifest["files"]
    findings = [Finding(MANIFEST, what) for what in told_twice.contradictions(folder, manifest)]
    findings += _receipts(store, manifest)
    findings += _contents(store, manifest, told)
    findings += _extras(store, manifest)
    findings += _inputs(folder, manifest) if with_inputs else []
    return Verified(
        uri=folder,
        kind=manifest["kind"],
        key=manifest.get("key") or "",
        rows=manifest.get("rows") or 0,
        files=len(files),
        bytes=sum(entry["bytes"] for entry in files),
        findings=findings,
    )


def _receipts(store: Store, manifest: Manifest) -> list[Finding]:
    """The receipts of the shards against the manifest; a copy has none of them."""
    names = {part["shard"]: f"shards/{part['shard']}.json" for part in manifest.get("shards", [])}
    there = set(store.names()) & set(names.values())
    if not there:
        return []
    findings: list[Finding] = []
    receipts: dict[str, Any] = {}
    for shard, name in names.items():
        if name not in there:
            findings.append(Finding(name, "missing: the receipt of a shard"))
            continue
        try:
            receipts[shard] = json.loads(store.read(name))
            findings += [
                Finding(name, what)
                for what in told_twice.receipt_errors(receipts[shard], shard, manifest)
            ]
        except MALFORMED as error:
            findings.append(Finding(name, f"not a receipt: {type(error).__name__}: {error}"))
    if findings:
        return findings
    return [Finding(MANIFEST, what) for what in told_twice.order_errors(receipts, manifest)]


def _contents(store: Store, manifest: Manifest, told: Callable[[str], None]) -> list[Finding]:
    """Every file against its entry; one that holds what another should hold is said."""
    entries = manifest["files"]
    scratch = cache.scratch() if is_remote(store.root) else None
    findings: list[Finding] = []
    strange: dict[str, str] = {}  # sha256 of the files whose content is not their own
    for entry in entries:
        told(store.path(entry["name"]))
        path = _local(store, entry["name"], scratch)
        if path is None:
            findings.append(Finding(entry["name"], "missing"))
            continue
        sha256 = cache.sha256_of(path)
        if sha256 != entry["sha256"]:
            strange[entry["name"]] = sha256
            findings.append(Finding(entry["name"], _other(path, entry, sha256, entries)))
        else:
            size = path.stat().st_size
            if size != entry["bytes"]:
                findings.append(Finding(entry["name"], _not_so("bytes", size, entry["bytes"])))
            findings += _table(path, entry, manifest.get("schema", []))
        if scratch is not None:
            path.unlink()
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)
    return findings


def _local(store: Store, name: str, scratch: Path | None) -> Path | None:
    """A file, or a copy of it, to be read; None where it is missing."""
    if scratch is None:
        path = Path(store.path(name))
        return path if path.is_file() else None
    copy = scratch / "file"
    try:
        store.download(name, copy)
    except FileNotFoundError:
        return None
    return copy


def _other(path: Path, entry: dict[str, Any], sha256: str, entries: list[dict[str, Any]]) -> str:
    """What a file holds that is not what its entry says."""
    owner = next((other["name"] for other in entries if other["sha256"] == sha256), None)
    if owner is not None:
        return f"holds what {owner} should hold"
    what = _not_so("sha256", sha256[:SHA_DIGITS], entry["sha256"][:SHA_DIGITS])
    size = path.stat().st_size
    if size == entry["bytes"]:
        return f"its content was changed: {what}"
    return f"its content was changed: {_not_so('bytes', size, entry['bytes'])}, {what}"


def _table(path: Path, entry: dict[str, Any], columns: list[list[str]]) -> list[Finding]:
    """Rows and columns of a Parquet file against the manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = entry["name"]
    if not name.endswith(".parquet"):
        return []
    try:
        with pq.ParquetFile(path) as file:
            rows, schema = file.metadata.num_rows, file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        return [Finding(name, f"not a Parquet file: {error}")]
    findings = []
    if rows != entry.get("rows"):
        findings.append(Finding(name, _not_so("rows", rows, entry.get("rows"))))
    there = [[each.name, str(each.type)] for each in schema]
    if there != [list(column) for column in columns]:
        findings.append(Finding(name, told_twice.columns_in_words(columns, there)))
    return findings


def _not_so(what: str, found: object, said: object) -> str:
    return f"{what} {found}, the manifest says {said}"


def _extras(store: Store, manifest: Manifest) -> list[Finding]:
    """Files that belong to nothing; Parquet among them would be read as rows."""
    known = {MANIFEST, *(entry["name"] for entry in manifest["files"])}
    known |= {f"shards/{part['shard']}.json" for part in manifest.get("shards", [])}
    left = store.unfinished()
    return [
        Finding(
            name,
            "left by a run that was killed; the next run removes it"
            if left
            else "not of this data set: the manifest does not name it",
            damage=name.endswith(".parquet") and not left,
        )
        for name in store.names()
        if name not in known
    ]


def _inputs(folder: str, manifest: Manifest) -> list[Finding]:
    """Inputs that are not there or lack files; for a copy only a remark."""
    found = inputs(folder, manifest)
    if manifest.get("inputs") and not found:
        return [Finding(MANIFEST, "a copy: its inputs are not looked for", damage=False)]
    findings = []
    for name, uri in found.items():
        try:
            if read_complete(uri) is None:
                findings.append(Finding(MANIFEST, f"its input {name} is missing: {uri}"))
        except (UserError, *MALFORMED) as error:
            what = error.what if isinstance(error, UserError) else f"{uri}: {error}"
            findings.append(Finding(MANIFEST, f"its input {name} is damaged: {what}"))
    return findings
