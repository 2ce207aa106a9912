"""Where data sets lie: one small interface over local folders and S3.

A store maps names to immutable files below one root. `open_store` takes the root, a folder or
``s3://bucket/prefix``. To read a published data set elsewhere there are `scan` (polars) and
`filesystem` (pyarrow).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qstar_core.store.local import LocalStore
from qstar_core.store.uri import is_remote

if TYPE_CHECKING:
    import polars as pl


class Store(Protocol):
    """Files below one root; a reader never sees a half-written one."""

    root: str
    poll_s: float
    """Seconds between two looks whether somebody else has published."""

    def put(self, name: str, source: Path) -> None:
        """Moves or uploads a finished local file to a name, replacing what was there."""
        ...

    def put_new(self, name: str, content: bytes) -> bool:
        """Writes a small file unless the name is taken; returns whether it was written."""
        ...

    def replace(self, name: str, content: bytes) -> None:
        """Writes a small file, replacing what was there, atomically for readers."""
        ...

    def read(self, name: str) -> bytes:
        """The content; FileNotFoundError where there is none."""
        ...

    def exists(self, name: str) -> bool:
        """Whether the name is taken."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where there is none."""
        ...

    def sizes(self) -> dict[str, int]:
        """Bytes of all files below the root by name."""
        ...

    def everything(self) -> dict[str, int]:
        """As `sizes`, with what is still being written, here and in data sets below."""
        ...

    def names(self) -> list[str]:
        """All names below the root, sorted."""
        ...

    def download(self, name: str, target: Path) -> None:
        """Copies a file to a new local path; FileNotFoundError where there is none."""
        ...

    def delete(self, name: str) -> None:
        """Removes a name; nothing happens where there is none."""
        ...

    def remove(self) -> None:
        """Removes the root with everything below it, finished or not."""
        ...

    def scratch(self) -> Path:
        """A new local folder for files that are still being written; on the root's device."""
        ...

    def kept(self, name: str) -> Path:
        """A local folder for unfinished work that outlives this process, made when it is missing.

        The same name gives the same folder on this machine until writing ends.
        """
        ...

    def path(self, name: str) -> str:
        """Path or URI of a name."""
        ...

    def lock_path(self) -> Path:
        """A local lock file that keeps apart the runs that write here."""
        ...

    def begin_writing(self) -> None:
        """Called by the holder of the lock before it writes; UserError where it may not write."""
        ...

    def unfinished(self) -> bool:
        """Whether a run has begun to write and has not cleared up."""
        ...

    def end_writing(self) -> None:
        """Removes what writing has left: scratch, lock, broken uploads."""
        ...

    def check(self, field: str) -> None:
        """UserError, naming the field, where it is plain that nothing can be written here."""
        ...


def open_store(root: str) -> Store:
    """The store of a root: a local folder, or ``s3://bucket/prefix``.

    Raises:
        UserError: neither of the two.
    """
    if not is_remote(root):
        return LocalStore(root)
    from qstar_core.store.s3 import S3Store

    return S3Store(root)


def scan(uri: str) -> pl.LazyFrame:
    """The rows of a published data set, lazily, straight from where they lie.

    Args:
        uri: folder or ``s3://bucket/prefix`` of the data set; for S3, endpoint, region and
            credentials are found as boto3 finds them.
    """
    from qstar_core.store import reading

    return reading.scan(uri)


def filesystem(uri: str) -> tuple[Any, str]:
    """A `pyarrow.fs.FileSystem` and the path on it of a folder, local or on S3."""
    from qstar_core.store import reading

    return reading.filesystem(uri)
