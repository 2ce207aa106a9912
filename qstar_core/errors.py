"""Errors that are the user's to mend: what failed, what is already safe, the next command."""

from __future__ import annotations


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


class WorkerError(Exception):
    """A shard worker crashed, hung or failed in a way that a retry may mend."""
