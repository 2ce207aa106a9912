"""How many S3 requests had to be repeated: of this process, and of the workers it was told of."""

from __future__ import annotations

import threading

_lock = threading.Lock()
_used = False
_total = 0
_taken = 0


def use() -> None:
    """S3 is used in this process."""
    global _used
    _used = True


def add(count: int) -> None:
    """Some requests were repeated, here or in a worker whose receipt says so."""
    global _total
    with _lock:
        _total += count


def total() -> int | None:
    """Requests repeated so far; None where neither this process nor a worker used S3."""
    return _total if _used or _total else None


def take() -> dict[str, int]:
    """A shard's figures: the requests repeated since the last call; empty where S3 is not used."""
    global _taken
    if not _used:
        return {}
    with _lock:
        new, _taken = _total - _taken, _total
    return {"s3_retries": new}
