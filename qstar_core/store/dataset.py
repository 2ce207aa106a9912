"""The publish protocol: write shards under names nobody reads yet, put the manifest last.

A data set is a folder ``{out}/{stage}/{key}``. A shard's files appear first, then its *receipt*
``shards/{shard}.json`` (row counts, sizes, sha256): a shard with a receipt is finished and is
never made again. When all shards are finished the manifest ``manifest.json`` is put with a
conditional write: a data set with a manifest is complete and never changes. ``kill -9`` at any
moment therefore leaves only finished shards and rubbish, which is removed when the data set is
published, or on the next look at it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qstar_core.errors import UserError
from qstar_core.store import Store, open_store
from qstar_core.store.local import SCRATCH
from qstar_core.store.lock import exclusive

MANIFEST = "manifest.json"
LOCK = "lock"  # below .writing: gone when the data set is published
ROW_GROUP_ROWS = 65_536


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_table(path: Path, table: pa.Table) -> None:
    """Writes Parquet with zstd; equal tables give equal bytes."""
    pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP_ROWS)


def making(uri: str, on_wait: Callable[[str], None]) -> AbstractContextManager[None]:
    """Keeps other runs from making the same data set at once.

    Args:
        uri: folder of the data set.
        on_wait: told who is making it, before waiting for that process to publish it or to end.
    """
    store = open_store(uri)
    lock = Path(store.path(SCRATCH)) / LOCK
    return exclusive(lock, lambda: store.exists(MANIFEST), on_wait)


def finish_shard(
    uri: str,
    shard: str,
    files: Iterable[Path],
    figures: dict[str, Any],
    environment: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Moves the files of a finished shard into the data set and writes its receipt.

    Args:
        uri: folder of the data set.
        shard: name of the shard, unique within the data set and a function of its content.
        files: finished files below the store's scratch folder; their names are kept.
        figures: measurements that are no rows (seconds, tokens per second, ...).
        environment: machine and packages of this process, where they are to be on record.

    Returns:
        The receipt: {"shard", "files": [{"name", "rows", "bytes", "sha256"}], "rows", "figures"},
        and "environment" if one was given.

    Raises:
        UserError: the data set is published already and does not change any more.
    """
    store = open_store(uri)
    sources = list(files)
    entries = [_entry(file) for file in sources]
    if store.exists(MANIFEST):
        raise UserError(
            f"{uri} is published already: shard {shard} is not put into it",
            safe="the published data set is as it was",
            next_step="run the same command again: it goes on with the published data set",
        )
    for file in sources:
        store.put(file.name, file)
    receipt = {
        "shard": shard,
        "files": entries,
        "rows": sum(entry.get("rows", 0) for entry in entries),
        "figures": figures,
        **({"environment": environment} if environment is not None else {}),
    }
    store.replace(f"shards/{shard}.json", _json(receipt))
    return receipt


def _entry(file: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": file.name, "bytes": file.stat().st_size}
    if file.suffix == ".parquet":
        entry["rows"] = pq.read_metadata(file).num_rows
    entry["sha256"] = sha256_of(file)
    return entry


def finished_shard(uri: str, shard: str) -> dict[str, Any] | None:
    """The receipt of a shard whose files are all there with their sizes, else None."""
    store = open_store(uri)
    name = f"shards/{shard}.json"
    if not store.exists(name):
        return None
    receipt: dict[str, Any] = json.loads(store.read(name))
    return receipt if all(_is_whole(store, entry) for entry in receipt["files"]) else None


def publish(uri: str, head: dict[str, Any], receipts: list[dict[str, Any]]) -> dict[str, Any]:
    """Puts the manifest last and clears away what an interrupted run left.

    Args:
        uri: folder of the data set.
        head: what the manifest says besides the files (kind, key, config, inputs, ...).
        receipts: of all shards, in order.

    Returns:
        The manifest; the one already there if somebody published the same key before.
    """
    store = open_store(uri)
    files = [entry for receipt in receipts for entry in receipt["files"]]
    manifest = {
        **head,
        "rows": sum(receipt["rows"] for receipt in receipts),
        "files": files,
        "schema": _schema(store, files),
        "shards": [{"shard": r["shard"], "figures": r["figures"]} for r in receipts],
    }
    if not store.put_new(MANIFEST, _json(manifest)):
        published: dict[str, Any] = json.loads(store.read(MANIFEST))
        return published
    clear_rubbish(uri, manifest)
    return manifest


def clear_rubbish(uri: str, manifest: dict[str, Any]) -> None:
    """Removes from a published data set what its manifest does not list, if anything is left.

    ``.writing`` goes last: while it is there, a run was killed before it had cleared everything.
    What cannot be removed does no harm.
    """
    store = open_store(uri)
    scratch = Path(store.path(SCRATCH))
    if not scratch.exists():
        return
    kept = {MANIFEST, *(entry["name"] for entry in manifest["files"])}
    kept |= {f"shards/{shard['shard']}.json" for shard in manifest["shards"]}
    with contextlib.suppress(OSError):
        for name in store.names():
            if name not in kept:
                store.delete(name)
    shutil.rmtree(scratch, ignore_errors=True)


def read_manifest(uri: str) -> dict[str, Any] | None:
    """The manifest of a complete data set, None where there is none (yet)."""
    store = open_store(uri)
    if not store.exists(MANIFEST):
        return None
    try:
        manifest: dict[str, Any] = json.loads(store.read(MANIFEST))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{store.path(MANIFEST)} is not valid JSON: {error}",
            next_step=f"remove the folder {uri} and run again: it will be made anew",
        ) from error
    return manifest


def read_complete(uri: str) -> dict[str, Any] | None:
    """The manifest of a complete data set whose files are all there with their sizes, else None.

    Raises:
        UserError: a file is missing or was changed in size; says how to make it anew.
    """
    manifest = read_manifest(uri)
    if manifest is None:
        return None
    store = open_store(uri)
    for entry in manifest["files"]:
        if not _is_whole(store, entry):
            path = store.path(entry["name"])
            raise UserError(
                f"{path} is missing or damaged (the manifest says {entry['bytes']} bytes)",
                safe="all other data sets are untouched",
                next_step=f"rm -r {uri} and run again: the same key gives the same rows",
            )
    return manifest


def data_files(uri: str) -> list[str]:
    """The Parquet files of a complete data set, in order, for polars and pyarrow.

    Raises:
        UserError: the data set is not published, or a file is missing or was changed in size.
    """
    manifest = read_complete(uri)
    if manifest is None:
        raise UserError(
            f"no complete data set at {uri}", next_step="run the stage that makes it first"
        )
    store = open_store(uri)
    names = [entry["name"] for entry in manifest["files"]]
    return [store.path(name) for name in names if name.endswith(".parquet")]


def _is_whole(store: Store, entry: dict[str, Any]) -> bool:
    path = Path(store.path(entry["name"]))
    return path.is_file() and path.stat().st_size == entry["bytes"]


def _schema(store: Store, files: list[dict[str, Any]]) -> list[list[str]]:
    for entry in files:
        if entry["name"].endswith(".parquet"):
            schema = pq.read_schema(store.path(entry["name"]))
            return [[field.name, str(field.type)] for field in schema]
    return []


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
