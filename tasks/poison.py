"""Finds the problem at which workers keep dying, across the attempts at one shard.

1. A worker dies: nobody knows at which problem. The next attempt is careful, one problem at a
   time, and writes into a mark file where it stands.
2. It dies again: the problem in the mark file is the suspect, and is taken first and alone.
3. A worker dies at the suspect: it is quarantined, and the shard goes on without it.

The first two deaths are left to Prefect's retries; after the third the next attempt starts at
once, so one poisonous problem takes two retries, however many follow.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qstar_core.errors import WorkerDied
from qstar_core.pipeline import kind_of

Spec = dict[str, Any]
ATTEMPTS_PER_PROBLEM = 3
KINDS = ("rollouts", "pool")  # of stages whose jobs understand hints


@dataclass
class Case:
    """What is known of one shard."""

    attempts: int = 0
    careful: bool = False
    suspect: str | None = None
    quarantined: dict[str, str] = field(default_factory=dict)

    def hints(self, mark: Path) -> dict[str, Any]:
        """For the worker: `qstar_core.rollouts.quarantine.Hints`."""
        found: dict[str, Any] = {"mark": str(mark), "careful": self.careful}
        if self.suspect is not None:
            found["suspect"] = self.suspect
        return {**found, "quarantined": self.quarantined}

    def learn(self, at: str | None, error: str) -> bool:
        """Takes in a worker's death.

        Args:
            at: id of the problem it was at, None where it was not careful or not yet at one.
            error: how it died.

        Returns:
            Whether to try again at once; otherwise the error is the caller's.
        """
        self.attempts += 1
        if self.attempts > ATTEMPTS_PER_PROBLEM * (len(self.quarantined) + 2):
            return False  # deaths at ever other problems: the engine is to blame
        if at is None:
            again = bool(self.quarantined) and not self.careful
            self.careful = True
            return again
        if at != self.suspect:
            self.suspect = at
            return bool(self.quarantined)
        self.quarantined[at] = error.splitlines()[0] if error else "the worker died"
        self.careful, self.suspect = False, None
        return True


_cases: dict[tuple[str, str], Case] = {}


def forget() -> None:
    """Drops what is known of all shards: a new run begins without suspicion."""
    _cases.clear()


def guarded(spec: Spec, run: Callable[[Spec], dict[str, Any]]) -> dict[str, Any]:
    """Runs a shard, with hints from earlier attempts at it in this process.

    Args:
        spec: the shard specification.
        run: hands it to a worker and returns the receipt.

    Raises:
        WorkerDied: the worker died, and a later attempt may find out at which problem.
    """
    if kind_of(spec["stage"]) not in KINDS:
        return run(spec)
    case = _cases.setdefault((spec["uri"], spec["shard"]), Case())
    handle, name = tempfile.mkstemp(prefix="qstar-mark-")
    os.close(handle)
    mark = Path(name)
    try:
        while True:
            mark.write_text("", encoding="utf-8")
            try:
                receipt = run({**spec, "hints": case.hints(mark)})
            except WorkerDied as error:
                if not case.learn(mark.read_text(encoding="utf-8") or None, str(error)):
                    raise
            else:
                _cases.pop((spec["uri"], spec["shard"]), None)
                return receipt
    finally:
        mark.unlink(missing_ok=True)
