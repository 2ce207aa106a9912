"""The per-user cache: verified copies of remote files, and scratch space for those to be uploaded.

It lies at ``QSTAR_CACHE``, else ``$XDG_CACHE_HOME/qstar``, else ``~/.cache/qstar``. Everything in
it can be removed at any time when no run is active; it is never cleared by itself, but for the
scratch folders of processes that have ended. Copies are named by their content, made in a scratch
folder and renamed, so any number of processes may use it at once.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from qstar_core.keys import content_id
from qstar_core.store.lock import hold

Entry = Mapping[str, Any]  # of a manifest or receipt: name, bytes, sha256


def root() -> Path:
    """The folder of the cache; need not be there yet."""
    given = os.environ.get("QSTAR_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser().absolute() / "qstar"


def folder(name: str) -> Path:
    """A folder of the cache, made when it is missing; a new cache is for its user alone."""
    root().parent.mkdir(parents=True, exist_ok=True)
    root().mkdir(mode=0o700, exist_ok=True)
    found = root() / name
    found.mkdir(exist_ok=True)
    return found


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, entry: Entry) -> bool:
    """Whether a local file has the size and SHA-256 of its entry; read once per process."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    if found.st_size != entry["bytes"]:
        return False
    return bool(_digest(str(path), found.st_size, found.st_mtime_ns) == entry["sha256"])


@functools.lru_cache(maxsize=100_000)
def _digest(path: str, size: int, mtime_ns: int) -> str:
    return sha256_of(Path(path))


def copies(entries: Iterable[Entry], fetch: Callable[[str, Path], None]) -> Path:
    """A folder with verified copies of files; they are fetched unless they are there already.

    Args:
        entries: of the files; they name the folder, so equal files are fetched once.
        fetch: copies a file, given its name, to a local path.

    Raises:
        Damaged: a file does not have the size or SHA-256 of its entry.
    """
    wanted = list(entries)
    place = folder("files") / content_id([[e["name"], e["sha256"]] for e in wanted])
    if place.is_dir():
        if all(is_intact(place / e["name"], e) for e in wanted):
            return place
        discard(place)
    made = scratch()
    for entry in wanted:
        target = made / entry["name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch(entry["name"], target)
        if not is_intact(target, entry):
            raise Damaged(entry["name"])
    return settle(made, place)


def settle(made: Path, place: Path) -> Path:
    """Renames a finished scratch folder; where another process was quicker, its one is taken."""
    try:
        made.rename(place)
    except OSError:
        if not place.is_dir():
            raise
        shutil.rmtree(made, ignore_errors=True)
    return place


def discard(place: Path) -> None:
    """Takes a damaged copy out of the way."""
    with suppress(FileNotFoundError):  # another process was quicker
        place.rename(scratch() / "damaged")


class Damaged(Exception):
    """A file is not what its entry says; the argument is its name."""


_ONE_AT_A_TIME = threading.Lock()


def scratch() -> Path:
    """A new folder that is removed when this process ends, or later when it was killed."""
    with _ONE_AT_A_TIME:  # or threads that come first together make a folder each
        own = _own_scratch(os.getpid())
    return Path(tempfile.mkdtemp(dir=own))


@functools.lru_cache(maxsize=1)
def _own_scratch(pid: int) -> Path:
    """This process's folder; the lock beside it tells others that the process lives."""
    base = folder("scratch")
    _clear_dead(base)
    held = None
    while held is None:
        handle, name = tempfile.mkstemp(prefix=f"{pid}-", suffix=".lock", dir=base)
        os.close(handle)
        held = hold(Path(name))  # None where somebody is just clearing it away
    own = Path(name).with_suffix("")
    own.mkdir()
    atexit.register(leave)
    return own


def leave() -> None:
    """Removes this process's scratch folders; called by itself at a normal exit."""
    if _own_scratch.cache_info().currsize:
        own = _own_scratch(os.getpid())
        shutil.rmtree(own, ignore_errors=True)
        own.with_suffix(".lock").unlink(missing_ok=True)
        _own_scratch.cache_clear()


def _clear_dead(base: Path) -> None:
    for lock in base.glob("*.lock"):
        with suppress(OSError):  # held by a living process, or cleared by another one
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink()
            finally:
                os.close(descriptor)
