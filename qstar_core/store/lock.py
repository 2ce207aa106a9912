"""One run at a time: an advisory lock on a file, which the kernel releases when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

log = logging.getLogger(__name__)

POLL_S = 0.2
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of the file system


@contextmanager
def exclusive(
    path: Path,
    needless: Callable[[], bool],
    on_wait: Callable[[str], None],
    poll_s: float = POLL_S,
) -> Iterator[None]:
    """Holds a lock file; waits for as long as another process holds it.

    Args:
        path: the lock file, made when it is missing; whoever holds the lock may remove it.
        needless: ends the wait without the lock.
        on_wait: told once, before the first wait, who holds the lock and since when.
        poll_s: seconds between two looks.
    """
    held = None
    said = False
    while held is None and not needless():
        held = hold(path)
        if held is None:
            if not said:
                said = True
                on_wait(_holder(path))
            time.sleep(poll_s)
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


def hold(path: Path) -> int | None:
    """The descriptor that holds the lock until it is closed, None where somebody else holds it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the folder was cleared away just now
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _lock(descriptor)
                if os.path.samestat(path.stat(), os.fstat(descriptor)):  # not replaced meanwhile
                    _sign(descriptor)
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether another process holds a lock file, or it is not ours to open; makes nothing."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    try:
        _lock(descriptor)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning("this file system has no locks: start no second run in the same folder")


def _sign(descriptor: int) -> None:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"pid {os.getpid()} on {platform.node()} since {since}\n".encode())


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "a process that has just begun"
    except FileNotFoundError:
        return "a process that has just ended"
