"""The budgets of one run: policy tokens, money and hours, after which no further shard is started.

The workers share the tokens that are left (`qstar_core.policies.allowance`) and stop in the middle
of a shard, so a run goes over its tokens and its money by at most one engine batch. Hours are
looked at between shards. What is finished or sampled is kept, and the same command goes on with
the rest. A run may set some of its budget aside for its last stages (`Budget.keep`), so that the
first ones cannot use up everything.

On a Ray cluster of several machines only shards on the machine of the flow share what is left; each
of the others may take what was left when its stage began.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from qstar_core.config import RuntimeConfig
from qstar_core.policies.allowance import Allowance

SECONDS_PER_HOUR = 3600.0
MILLION = 1e6
ROUNDING = 1e-6  # tokens, by which a price in binary fractions may be off


class Budget:
    """Counts what the shards of this run took; shards found on disk cost nothing.

    Args:
        options: ``max_tokens``, ``max_price`` and ``max_hours``; None is no limit.
        clock: seconds, monotonic.
    """

    def __init__(self, options: RuntimeConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._taken = 0
        self._clock = clock
        self._start = clock()
        self._per_token = (options.price_per_million_tokens or 0.0) / MILLION
        self._options = options
        self._payable: int | None = None  # tokens that max_price pays for
        if options.max_price is not None and self._per_token:
            self._payable = math.ceil(options.max_price / self._per_token - ROUNDING)
        self._kept = Kept(0, 0.0)
        self._granted = Kept(0, 0.0)
        self._shared = Allowance(None, min(self._limits())) if self._limits() else None

    def close(self) -> None:
        """No worker needs it any more."""
        if self._shared is not None:
            self._shared.close()

    @property
    def tokens(self) -> int:
        """Policy tokens so far, those of unfinished shards and of failed attempts too."""
        if self._shared is None:
            return self._taken
        return max(self._taken, self._shared.spent)

    def meter(self) -> dict[str, Any] | None:
        """What workers are told of the tokens that are left; None where nothing limits them."""
        if self._shared is None:
            return None
        most = min(max(limit, self._granted.tokens) for limit in self._limits())
        limit = most - self._kept.tokens
        return {"path": str(self._shared.path), "limit": limit, "spent": self.tokens}

    def _limits(self) -> list[int]:
        """Of tokens, by their number and by their price."""
        return [limit for limit in (self._options.max_tokens, self._payable) if limit is not None]

    @property
    def price(self) -> float:
        """What the tokens cost so far; 0 where no price is known."""
        return self.tokens * self._per_token

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._start

    def take(self, receipt: dict[str, Any]) -> None:
        """Adds what a shard took; what an earlier run had sampled of it was paid for there."""
        self._taken += int(receipt.get("spent", receipt.get("figures", {}).get("tokens", 0)))

    def keep(self, tokens: int = 0, seconds: float = 0.0) -> None:
        """Sets tokens and seconds aside for the last stages.

        At most half of each limit: the estimates are upper ones, and where they exceed the limit
        the stages before would never get to start.
        """
        hours = self._options.max_hours
        limit_s = hours * SECONDS_PER_HOUR / 2 if hours else seconds
        halves = [limit // 2 for limit in self._limits()]
        self._kept = Kept(min([tokens, *halves]), min(seconds, limit_s))

    def give_back(self) -> None:
        """Lets the next stages have what was kept, all of it: the first ones may have gone over."""
        if self._kept != Kept(0, 0.0):
            self._granted = Kept(self.tokens + self._kept.tokens, self.seconds + self._kept.seconds)
        self._kept = Kept(0, 0.0)

    def spent(self) -> str:
        """Which budget is spent, in words; empty while there is something left."""
        kept, granted, options = self._kept, self._granted, self._options
        aside = " (the rest is kept for the evaluation)" if kept != Kept(0, 0.0) else ""
        limit = options.max_tokens
        if limit is not None and self.tokens + kept.tokens >= max(limit, granted.tokens):
            return (
                f"runtime.max_tokens: {self.tokens:,} of {limit:,} policy tokens are spent{aside}"
            )
        most = self._payable
        if most is not None and self.tokens + kept.tokens >= max(most, granted.tokens):
            said = f"{self.price:,.4g} of {options.max_price:,.4g}"
            return f"runtime.max_price: {said} are spent{aside}"
        hours = options.max_hours
        limit_s = max((hours or 0.0) * SECONDS_PER_HOUR, granted.seconds)
        if hours is not None and self.seconds + kept.seconds >= limit_s:
            took = self.seconds / SECONDS_PER_HOUR
            return f"runtime.max_hours: {took:.2f} of {hours:g} hours are spent{aside}"
        return ""


class Kept(NamedTuple):
    """Tokens and seconds."""

    tokens: int
    seconds: float
