"""A folder on a local (or mounted) file system as a store."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from qstar_core.errors import UserError
from qstar_core.store.lock import POLL_S

SCRATCH = ".writing"
LOCK = "lock"  # below .writing: gone when the data set is published


class LocalStore:
    """Names are relative POSIX paths below a root folder; writes are renames."""

    poll_s = POLL_S

    def __init__(self, root: str) -> None:
        self.root = root
        self._root = Path(root)

    def put(self, name: str, source: Path) -> None:
        """Moves a finished file (made below `scratch`) to its name: flush, rename, flush."""
        target = self._target(name)
        source.chmod(_file_mode())
        sync(source)
        source.replace(target)
        sync(target.parent)

    def put_new(self, name: str, content: bytes) -> bool:
        """Writes a file unless the name is taken; a hard link makes the test and the write one."""
        target = self._target(name)
        scratch = self._write(content)
        try:
            os.link(scratch, target)
        except FileExistsError:
            return False
        finally:
            scratch.unlink(missing_ok=True)  # whoever sees the manifest may clear it away
        sync(target.parent)
        return True

    def replace(self, name: str, content: bytes) -> None:
        """Writes a file, replacing what was there."""
        target = self._target(name)
        self._write(content).replace(target)
        sync(target.parent)

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return (self._root / name).read_bytes()

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        return (self._root / name).is_file()

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where there is none."""
        path = self._root / name
        return path.stat().st_size if path.is_file() else None

    def sizes(self) -> dict[str, int]:
        """Bytes of all files by name, those still being written left out."""
        found = self.everything()
        return {name: size for name, size in found.items() if SCRATCH not in name.split("/")}

    def everything(self) -> dict[str, int]:
        """Bytes of all files by name; folders that are links are not followed."""
        found: dict[str, int] = {}
        for folder, _, names in os.walk(self._root):
            for path in (Path(folder, name) for name in names):
                with suppress(FileNotFoundError):  # gone meanwhile, or a link to nothing
                    found[path.relative_to(self._root).as_posix()] = path.stat().st_size
        return found

    def names(self) -> list[str]:
        """All files, those still being written left out."""
        return sorted(self.sizes())

    def download(self, name: str, target: Path) -> None:
        """Copies a file."""
        shutil.copyfile(self._root / name, target)

    def delete(self, name: str) -> None:
        """Removes a file."""
        (self._root / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self._root)

    def scratch(self) -> Path:
        """A new folder below ``.writing``; nobody reads there."""
        base = self._root / SCRATCH
        base.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=base))

    def kept(self, name: str) -> Path:
        """A folder below ``.writing``, where another process finds it again."""
        found = self._root / SCRATCH / "kept" / name
        found.mkdir(parents=True, exist_ok=True)
        return found

    def path(self, name: str) -> str:
        """The file's path."""
        return str(self._root / name)

    def lock_path(self) -> Path:
        """The lock file of whoever writes here."""
        return self._root / SCRATCH / LOCK

    def begin_writing(self) -> None:
        """Nothing: the lock file has made ``.writing``."""

    def unfinished(self) -> bool:
        """Whether ``.writing`` is there."""
        return (self._root / SCRATCH).exists()

    def end_writing(self) -> None:
        """Removes ``.writing``."""
        shutil.rmtree(self._root / SCRATCH, ignore_errors=True)

    def check(self, field: str) -> None:
        """Makes sure that the folder can be written, or made.

        Raises:
            UserError: it cannot.
        """
        nearest = Path(self.root).absolute()
        while not nearest.exists() and not os.path.lexists(nearest):
            nearest = nearest.parent
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            example = ", for example --set out=results/mine" if field == "out" else ""
            raise UserError(
                f"{field}: cannot write below {nearest} (asked for {self.root})",
                next_step=f"set {field} to a folder you may write{example}",
            )

    def _target(self, name: str) -> Path:
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _write(self, content: bytes) -> Path:
        base = self._root / SCRATCH
        base.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=base)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, _file_mode())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return Path(name)


def _file_mode() -> int:
    """What the user's umask leaves of rw-rw-rw-; temporary files and safetensors are private."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
