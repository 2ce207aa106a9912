"""The files of a data set as its receipts and manifest list them: name, bytes, rows, sha256."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from qstar_core.errors import UserError
from qstar_core.store import Store, cache, open_store
from qstar_core.store.cache import sha256_of
from qstar_core.store.uri import is_remote, removal

DOWNLOADS = 8  # files fetched side by side


def is_plain(name: str) -> bool:
    """Whether a name stays below the folder it is put into."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def entry_of(file: Path) -> dict[str, Any]:
    """The entry of a local file."""
    entry: dict[str, Any] = {"name": file.name, "bytes": file.stat().st_size}
    if file.suffix == ".parquet":
        entry["rows"] = pq.read_metadata(file).num_rows
    entry["sha256"] = sha256_of(file)
    return entry


def document(store: Store, name: str, content: bytes) -> dict[str, Any]:
    """Puts a small file unless it is there, and returns its entry in the manifest."""
    if not store.put_new(name, content):
        content = store.read(name)
    sha256 = hashlib.sha256(content).hexdigest()
    return {"name": name, "bytes": len(content), "sha256": sha256}


def is_whole(store: Store, entry: dict[str, Any]) -> bool:
    """Whether a file is there with its size."""
    return bool(store.size(entry["name"]) == entry["bytes"])


def schema_of(store: Store, files: list[dict[str, Any]]) -> list[list[str]]:
    """Names and types of the columns of the first Parquet file; empty without one."""
    for entry in files:
        if entry["name"].endswith(".parquet"):
            path = copies(store, [entry]) / entry["name"] if is_remote(store.root) else None
            schema = pq.read_schema(path or store.path(entry["name"]))
            return [[field.name, str(field.type)] for field in schema]
    return []


def verified(uri: str, entries: list[dict[str, Any]]) -> list[str]:
    """Local paths of files of a data set, published or not, after a look at their sha256.

    Raises:
        UserError: a file is not what its entry says.
    """
    store = open_store(uri)
    if not is_remote(uri):
        for entry in entries:
            if not cache.is_intact(Path(store.path(entry["name"])), entry):
                raise damaged(store, entry["name"], "not what its sha256 says")
        return [store.path(entry["name"]) for entry in entries]
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        folders = list(pool.map(lambda entry: copies(store, [entry]), entries))
    return [str(folder / e["name"]) for folder, e in zip(folders, entries, strict=True)]


def copies(store: Store, entries: list[dict[str, Any]]) -> Path:
    """A local folder with verified copies of remote files.

    Raises:
        UserError: a file is not what its entry says.
    """
    try:
        return cache.copies(entries, store.download)
    except cache.Damaged as error:
        raise damaged(store, str(error), "not what its sha256 says") from error


def damaged(store: Store, name: str, how: str) -> UserError:
    """What is said of a file that is not what it should be."""
    return UserError(
        f"{store.path(name)} is {how}",
        safe="all other data sets are untouched",
        next_step=f"{removal(store.root)} and run again: the same key gives the same rows",
    )
