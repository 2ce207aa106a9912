"""The budgets of one run: policy tokens and hours, after which no further shard is started.

Shards that are being worked on are finished, so a run goes over by at most one shard per worker;
what is finished is kept, and the same command goes on with the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qstar_core.config import RuntimeConfig

SECONDS_PER_HOUR = 3600.0


class Budget:
    """Counts what the shards of this run took; shards found on disk cost nothing.

    Args:
        options: ``max_tokens`` and ``max_hours``; None is no limit.
        clock: seconds, monotonic.
    """

    def __init__(self, options: RuntimeConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.tokens = 0
        self._options = options
        self._clock = clock
        self._start = clock()

    def take(self, receipt: dict[str, Any]) -> None:
        """Adds what a shard took."""
        self.tokens += int(receipt.get("figures", {}).get("tokens", 0))

    def spent(self) -> str:
        """Which budget is spent, in words; empty while there is something left."""
        limit, hours = self._options.max_tokens, self._options.max_hours
        if limit is not None and self.tokens >= limit:
            return f"runtime.max_tokens: {self.tokens:,} of {limit:,} policy tokens are spent"
        took = (self._clock() - self._start) / SECONDS_PER_HOUR
        if hours is not None and took >= hours:
            return f"runtime.max_hours: {took:.2f} of {hours:g} hours are spent"
        return ""
