"""The policy tokens that are left to a run, shared by the workers of one machine.

A file holds how many are spent, and how many each process may at most be about to spend. A worker
*claims* the requests that it is going to make, which sets their worst case aside, and *settles*
what they took. Work is given out while something is left that nobody has set aside, at least one
engine batch, so all workers together go over by at most one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

SHARE = 2
"""Of what is left, a claim takes at most the half, so that the others do not wait for it long."""


class Allowance:
    """What is left of a budget.

    Args:
        path: of the shared file; where it is None or not on this machine, a new file is made.
        limit: policy tokens of the run.
        spent: of these, in case the shared file is not here.
    """

    def __init__(self, path: str | None, limit: int, spent: int = 0) -> None:
        self.limit = limit
        shared = path is not None and Path(path).exists()
        self._own = None if shared else _new_file(spent)
        self.path = self._own or Path(path or "")

    def close(self) -> None:
        """Removes the file that is this object's own, if there is one."""
        if self._own is not None:
            self._own.unlink(missing_ok=True)

    @classmethod
    def of(cls, asked: dict[str, Any] | None) -> Self | None:
        """That of a shard specification: path, limit and spent; None where nothing is limited."""
        return None if asked is None else cls(asked["path"], asked["limit"], asked["spent"])

    @property
    def spent(self) -> int:
        """Policy tokens, of all workers."""
        with self._open() as state:
            return int(state["spent"])

    def claim(self, worst: Sequence[int], batch: int) -> int | None:
        """Sets tokens aside for the next requests.

        Args:
            worst: tokens that each request takes at most, in the order in which they are made.
            batch: so many of them make an engine batch.

        Returns:
            How many of them may be made; 0 if others hold what is left, so that one has to wait;
            None if all is spent.
        """
        with self._open() as state:
            held = sum(state["held"].values())
            left = self.limit - state["spent"] - held
            if left <= 0:
                return 0 if held else None
            count = total = 0
            for count, tokens in enumerate(worst, start=1):
                total += tokens
                if count >= batch and total + _following(worst, count) > left // SHARE:
                    break
            me = str(os.getpid())
            state["held"][me] = state["held"].get(me, 0) + sum(worst[:count])
            return count

    def settle(self, held: int, took: int) -> None:
        """Gives back what was set aside and counts what was spent of it.

        Args:
            held: the worst case of the requests.
            took: tokens that they have taken.
        """
        with self._open() as state:
            me = str(os.getpid())
            state["spent"] += took
            state["held"][me] = state["held"].get(me, 0) - held
            if state["held"][me] <= 0:
                del state["held"][me]

    @contextlib.contextmanager
    def _open(self) -> Iterator[dict[str, Any]]:
        """The state under a lock; without the processes that have died. Written back."""
        with self.path.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            text = file.read()
            state: dict[str, Any] = json.loads(text) if text else {"spent": 0, "held": {}}
            state["held"] = {
                pid: n for pid, n in state["held"].items() if psutil.pid_exists(int(pid))
            }
            yield state
            file.seek(0)
            file.truncate()
            file.write(json.dumps(state))


def _following(worst: Sequence[int], count: int) -> int:
    """The worst case of the request after so many."""
    return worst[count] if count < len(worst) else 0


def _new_file(spent: int) -> Path:
    handle, name = tempfile.mkstemp(prefix="qstar-tokens-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"spent": spent, "held": {}}, file)
    return Path(name)
