"""What sampling a shard reports while it runs, and its figures at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from qstar_core.rollouts.quarantine import Quarantined


class SampleProgress:
    """Counts samples and tokens of a shard.

    Args:
        report: told (done, total, unit, note).
        unit: what is counted.
    """

    def __init__(self, report: Callable[[int, int, str, str], None], unit: str) -> None:
        self.asked = self.finished = self.tokens = 0
        self._report = report
        self._unit = unit
        self._start = time.monotonic()

    def ask(self, count: int) -> None:
        """More samples are asked for."""
        self.asked += count

    def done(self, samples: int, tokens: int) -> None:
        """Some samples are finished, with their tokens."""
        self.finished, self.tokens = self.finished + samples, self.tokens + tokens
        rate = self.tokens / max(1e-9, time.monotonic() - self._start)
        # halves of a failing group are counted again
        finished = min(self.finished, self.asked)
        self._report(finished, self.asked, self._unit, f"{rate:,.0f} tokens/s")

    def figures(self, quarantined: Sequence[Quarantined]) -> dict[str, Any]:
        """Of the shard's receipt: seconds, tokens, and quarantined problems if there are any."""
        seconds = round(time.monotonic() - self._start, 3)
        found: dict[str, Any] = {"seconds": seconds, "tokens": self.tokens}
        return {**found, "quarantined": list(quarantined)} if quarantined else found
