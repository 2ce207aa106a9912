"""Errors that are the user's to mend: what failed, what is already safe, the next command."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path

S3 = "s3://"
RUST_OS_ERROR = re.compile(r"\(os error (\d+)\)")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class UserError(Exception):
    """An error caused by input or surroundings, shown without a traceback, exit code 2.

    Args:
        what: what failed, naming the field, row or file.
        safe: what is already safe on disk and will be kept; empty when nothing was started.
        next_step: the exact next command or edit.
    """

    def __init__(self, what: str, *, safe: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.safe = safe
        self.next_step = next_step

    def to_dict(self) -> dict[str, str]:
        """The parts, for the worker's error event."""
        return {"what": self.what, "safe": self.safe, "next_step": self.next_step}


class EngineUnavailable(UserError):
    """The engine as a whole cannot serve: no request is at fault, none is quarantined for it."""


class TokensSpent(EngineUnavailable):
    """The policy tokens of the run are spent in the middle of a shard; nothing is wrong."""


class RequestFailed(UserError):
    """One request failed again and again while others were answered; another try may help."""


class StorageUnreachable(UserError):
    """Object storage does not answer: the user's to mend, but a shard is worth another try."""


KINDS: dict[str, type[UserError]] = {
    "spent": TokensSpent,
    "engine": EngineUnavailable,
    "user": UserError,
}
"""What a worker calls the errors that no retry mends, the more special ones first."""


class WorkerError(Exception):
    """A shard worker crashed, hung or failed in a way that a retry may mend."""


class ModelReplaced(WorkerError):
    """A shard asks for another model than the one that this worker has to keep."""


class WorkerDied(WorkerError):
    """The worker's process ended, or was killed because it hung."""


def users_to_mend(error: OSError, inputs: Iterable[str] = ()) -> UserError | None:
    """The user's error behind an error of the system; None where a retry may mend it.

    Args:
        error: of the system.
        inputs: files and folders that were there at the start: a retry does not bring them back.
    """
    what = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
    # what comes out of Rust has no errno and no filename, only its type and a text "...: path"
    named = str(error.filename or str(error).rpartition(": ")[2])
    if error.errno in DISK_FULL:
        step = "free space on that disk or set out to a folder on another one"
    elif error.errno == errno.EROFS:
        step = "make that file system writable or set out to a folder on another one"
    elif isinstance(error, PermissionError):
        step = "give yourself the permission (ls -ld shows it)"
    elif isinstance(error, FileNotFoundError) and any(_is_below(named, place) for place in inputs):
        step = f"put {named if named.startswith(S3) else Path(named).absolute()} back"
    else:
        return None
    safe = "finished shards are on disk and will be kept"
    return UserError(what, safe=safe, next_step=f"{step}, then run the same command again")


def told_in_text(error: Exception) -> OSError | None:
    """The error of the system that a library written in Rust tells only in its message.

    safetensors and polars say ``... (os error 28)`` in exceptions of their own. None without it.
    """
    found = RUST_OS_ERROR.search(str(error))
    if found is None:
        return None
    number = int(found[1])
    return OSError(number, os.strerror(number))


def _is_below(named: str, place: str) -> bool:
    if named.startswith(S3) or place.startswith(S3):
        return named == place or named.startswith(f"{place.rstrip('/')}/")
    return Path(named).absolute().is_relative_to(Path(place).absolute())
