"""The budgets of one run: policy tokens, money and hours, after which no further shard is started.

Shards that are being worked on are finished, so a run goes over by at most one shard per worker;
what is finished is kept, and the same command goes on with the rest. A run may set some of its
budget aside for its last stages (`Budget.keep`), so that the first ones cannot use up everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qstar_core.config import RuntimeConfig

SECONDS_PER_HOUR = 3600.0
MILLION = 1e6


class Budget:
    """Counts what the shards of this run took; shards found on disk cost nothing.

    Args:
        options: ``max_tokens``, ``max_price`` and ``max_hours``; None is no limit.
        clock: seconds, monotonic.
    """

    def __init__(self, options: RuntimeConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.tokens = 0
        self._options = options
        self._clock = clock
        self._start = clock()
        self._kept = (0, 0.0)

    @property
    def price(self) -> float:
        """What the tokens cost so far; 0 where no price is known."""
        return self.tokens / MILLION * (self._options.price_per_million_tokens or 0.0)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._start

    def take(self, receipt: dict[str, Any]) -> None:
        """Adds what a shard took."""
        self.tokens += int(receipt.get("figures", {}).get("tokens", 0))

    def keep(self, tokens: int = 0, seconds: float = 0.0) -> None:
        """Sets tokens and seconds aside; without arguments gives all back."""
        self._kept = (tokens, seconds)

    def spent(self) -> str:
        """Which budget is spent, in words; empty while there is something left."""
        kept, kept_s = self._kept
        aside = " (the rest is kept for the evaluation)" if kept or kept_s else ""
        limit, hours, money = (getattr(self._options, name) for name in LIMITS)
        if limit is not None and self.tokens + kept >= limit:
            return (
                f"runtime.max_tokens: {self.tokens:,} of {limit:,} policy tokens are spent{aside}"
            )
        kept_price = kept / MILLION * (self._options.price_per_million_tokens or 0.0)
        if money is not None and self.price + kept_price >= money:
            return f"runtime.max_price: {self.price:,.4g} of {money:,.4g} are spent{aside}"
        if hours is not None and self.seconds + kept_s >= hours * SECONDS_PER_HOUR:
            took = self.seconds / SECONDS_PER_HOUR
            return f"runtime.max_hours: {took:.2f} of {hours:g} hours are spent{aside}"
        return ""


LIMITS = ("max_tokens", "max_hours", "max_price")
