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
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qstar_core.errors import UserError
from qstar_core.keys import ID_DIGITS
from qstar_core.store import open_store, retries
from qstar_core.store.cache import sha256_of as sha256_of
from qstar_core.store.entries import (
    copies,
    damaged,
    document,
    entry_of,
    is_plain,
    is_whole,
    schema_of,
    verified,
)
from qstar_core.store.lock import exclusive
from qstar_core.store.uri import is_remote, leaf, removal

MANIFEST = "manifest.json"
ROW_GROUP_ROWS = 65_536
_KEY = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}")


def write_table(path: Path, table: pa.Table) -> None:
    """Writes Parquet with zstd; equal tables give equal bytes."""
    pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP_ROWS)


def table_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes Parquet with zstd table by table, a row group each; a context manager."""
    return pq.ParquetWriter(path, schema, compression="zstd")


@contextlib.contextmanager
def making(uri: str, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Keeps other runs from making the same data set at once; on S3, those of this machine.

    Args:
        uri: folder of the data set.
        on_wait: told who is making it, before waiting for that process to publish it or to end.

    Raises:
        UserError: it cannot be written there.
    """
    store = open_store(uri)

    def published() -> bool:
        return store.exists(MANIFEST)

    with exclusive(store.lock_path(), published, on_wait, store.poll_s):
        if not published():
            store.begin_writing()
        yield


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
        figures: measurements that are no rows (seconds, tokens per second, ...); where S3 is
            used, ``s3_retries``, the requests repeated so far, is added.
        environment: machine and packages of this process, where they are to be on record.

    Returns:
        The receipt: {"shard", "files": [{"name", "rows", "bytes", "sha256"}], "rows", "figures"},
        and "environment" if one was given.

    Raises:
        UserError: the data set is published already and does not change any more.
    """
    store = open_store(uri)
    sources = list(files)
    entries = [entry_of(file) for file in sources]
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
        "figures": {**figures, **retries.take()},
        **({"environment": environment} if environment is not None else {}),
    }
    store.replace(f"shards/{shard}.json", _json(receipt))
    return receipt


def finished_shard(uri: str, shard: str) -> dict[str, Any] | None:
    """The receipt of a shard whose files are all there with their sizes, else None."""
    store = open_store(uri)
    try:
        receipt: dict[str, Any] = json.loads(store.read(f"shards/{shard}.json"))
    except FileNotFoundError:
        return None
    return receipt if all(is_whole(store, entry) for entry in receipt["files"]) else None


def publish(
    uri: str,
    head: dict[str, Any],
    receipts: list[dict[str, Any]],
    documents: Mapping[str, bytes] | None = None,
) -> dict[str, Any]:
    """Puts the manifest last and clears away what an interrupted run left.

    Args:
        uri: folder of the data set.
        head: what the manifest says besides the files (kind, key, config, inputs, ...).
        receipts: of all shards, in order.
        documents: small files of the whole data set by name, put before the manifest and listed in
            it like the others. One that is there already stays as it is and is listed as it is:
            another machine may be about to publish the same key with it.

    Returns:
        The manifest; the one already there if somebody published the same key before.

    Raises:
        UserError: the one already there names a file that is missing or damaged.
    """
    store = open_store(uri)
    files = [entry for receipt in receipts for entry in receipt["files"]]
    if documents and not store.exists(MANIFEST):
        files += [document(store, name, content) for name, content in documents.items()]
    manifest = {
        **head,
        "rows": sum(receipt["rows"] for receipt in receipts),
        "files": files,
        "schema": schema_of(store, files),
        "shards": [{"shard": r["shard"], "figures": r["figures"]} for r in receipts],
    }
    if not store.put_new(MANIFEST, _json(manifest)):
        published = read_complete(uri)
        return manifest if published is None else published
    clear_rubbish(uri, manifest)
    return manifest


def clear_rubbish(uri: str, manifest: dict[str, Any]) -> None:
    """Removes from a published data set what its manifest does not list, if anything is left.

    ``.writing`` goes last: while it is there, a run was killed before it had cleared everything.
    What cannot be removed does no harm.
    """
    store = open_store(uri)
    if not store.unfinished():
        return
    kept = {MANIFEST, *(entry["name"] for entry in manifest["files"])}
    kept |= {f"shards/{shard['shard']}.json" for shard in manifest["shards"]}
    with contextlib.suppress(OSError, UserError):
        for name in store.names():
            if name not in kept:
                store.delete(name)
    with contextlib.suppress(OSError, UserError):
        store.end_writing()


def read_manifest(uri: str) -> dict[str, Any] | None:
    """The manifest of a complete data set, None where there is none (yet).

    Its ``uri`` is where it was read, which is another place than where it was made once the data
    set was copied.
    """
    store = open_store(uri)
    try:
        manifest: dict[str, Any] = json.loads(store.read(MANIFEST))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{store.path(MANIFEST)} is not valid JSON: {error}",
            next_step=f"{removal(uri)} and run again: it will be made anew",
        ) from error
    for entry in manifest.get("files", ()):
        if not is_plain(entry["name"]):
            raise UserError(
                f"{store.path(MANIFEST)} names a file outside of its data set: {entry['name']}",
                next_step="do not use this data set: qstar did not write its manifest",
            )
    return {**manifest, "uri": uri} if "uri" in manifest else manifest


def folder_of(uri: str) -> str:
    """The data set that a folder or the path of its manifest names; absolute where it is local."""
    if is_remote(uri):
        return uri.removesuffix(f"/{MANIFEST}").rstrip("/")
    folder, name = os.path.split(os.path.abspath(uri))
    return folder if name == MANIFEST else os.path.join(folder, name)


def read_complete(uri: str) -> dict[str, Any] | None:
    """The manifest of a complete data set whose files are all there with their sizes, else None.

    Raises:
        UserError: a file is missing or was changed in size; says how to make it anew. Or the
            folder has the name of another key: it was renamed, or swapped with another.
    """
    manifest = read_manifest(uri)
    if manifest is None:
        return None
    store = open_store(uri)
    key, named = manifest.get("key"), leaf(store.root)
    if key != named and _KEY.fullmatch(named) and _KEY.fullmatch(str(key)):
        raise UserError(
            f"{store.root} holds the data set with the key {key}, not the one it is named after",
            safe="nothing was changed",
            next_step=f"rename the folder to {key}, or run the stage again where it is missing",
        )
    sizes = store.sizes() if is_remote(uri) else {}  # one listing instead of many requests
    for entry in manifest["files"]:
        if sizes.get(entry["name"]) != entry["bytes"] and not is_whole(store, entry):
            raise damaged(
                store,
                entry["name"],
                f"missing or damaged (the manifest says {entry['bytes']} bytes)",
            )
    return manifest


def data_files(uri: str, wanted: Callable[[str], bool] | None = None) -> list[str]:
    """The Parquet files of a complete data set, in order, as local paths of verified files.

    Remote ones are copied into the cache; all are compared with the manifest's sha256, a local
    one once per process. To read without copies there is `qstar_core.store.scan`.

    Args:
        uri: folder of the data set.
        wanted: says by its name whether a file is; the others are neither copied nor looked at.

    Raises:
        UserError: the data set is not published, or a file is missing or damaged.
    """
    entries = [e for e in _complete(uri)["files"] if e["name"].endswith(".parquet")]
    if wanted is not None:
        entries = [e for e in entries if wanted(e["name"])]
    return verified(uri, entries)


def local_folder(uri: str) -> Path:
    """A local folder with the files of a complete data set, verified; the data set's own if local.

    Raises:
        UserError: the data set is not published, or a file is missing or damaged.
    """
    entries = _complete(uri)["files"]
    if not is_remote(uri):
        verified(uri, entries)
        return Path(uri)
    return copies(open_store(uri), entries)


def _complete(uri: str) -> dict[str, Any]:
    manifest = read_complete(uri)
    if manifest is None:
        raise UserError(
            f"no complete data set at {uri}", next_step="run the stage that makes it first"
        )
    return manifest


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
