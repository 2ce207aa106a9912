"""Where data sets lie: one small interface over local folders (and, later, object storage).

A store maps names to immutable files below one root. `open_store` takes the root.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from qstar_core.store.local import LocalStore


class Store(Protocol):
    """Files below one root; a reader never sees a half-written one."""

    root: str

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

    def names(self) -> list[str]:
        """All names below the root, sorted."""
        ...

    def delete(self, name: str) -> None:
        """Removes a name; nothing happens where there is none."""
        ...

    def scratch(self) -> Path:
        """A new local folder on the same device for files that are still being written."""
        ...

    def path(self, name: str) -> str:
        """What polars and pyarrow scan."""
        ...


def open_store(root: str) -> Store:
    """The store of a root folder."""
    return LocalStore(root)
