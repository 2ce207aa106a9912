"""What a search may spend on one problem, and what it has spent.

The driver charges the ledger, the search only reads it. A budget of tokens, calls or expansions is
never exceeded:

1. How many tokens a sample takes is known only once it is drawn. Samples are charged in the order
   of their index; the first one that costs more than is left is dropped and takes what was left,
   and with it the budget is over. So at most ``policy_tokens`` are charged, although the engine
   may have computed some samples that nobody gets to see.
2. When the budget is over, ``Ledger.over`` is true, and the driver answers any further request
   for samples with an empty list. Answers may be cut short at that moment; a search goes on with
   what it was given and returns the best it has.

Seconds are those of the machine, shared out: at every moment the time goes in equal parts to the
searches that are under way (``AmortizedClock``). n problems with a limit of x seconds each
therefore take about n * x seconds, however many are searched at once, which makes equal seconds
fair among methods. The clock is read between two answers, so a search ends at the first one after
its limit and has spent a little more. What a search returns under a limit of seconds depends on the
speed of the machine: it cannot be reproduced to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits per problem.

    Attributes:
        policy_tokens: tokens the policy generates, end-of-text tokens included.
        value_calls: actions that the Q-value model and the process reward model score; one that
            both of them score counts twice.
        expansions: states whose next actions are sampled (``Propose`` requests). In the lookahead
            mode of A* a state counts when its actions are sampled for h, not when it is popped.
        seconds: machine seconds, amortised over the searches under way; None is no limit. Results
            with such a limit depend on the machine and are not reproducible to the bit.
    """

    policy_tokens: int
    value_calls: int
    expansions: int
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("policy_tokens", "value_calls", "expansions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds must be positive and finite, or None, got {self.seconds}")


@dataclass(slots=True)
class Ledger:
    """What one search has spent of its budget; the fields are those of ``Budget``."""

    budget: Budget
    policy_tokens: int = 0
    value_calls: int = 0
    expansions: int = 0
    seconds: float = 0.0

    @property
    def tokens_left(self) -> int:
        """Policy tokens that may still be generated."""
        return self.budget.policy_tokens - self.policy_tokens

    @property
    def calls_left(self) -> int:
        """Actions that may still be scored."""
        return self.budget.value_calls - self.value_calls

    @property
    def expansions_left(self) -> int:
        """States whose actions may still be sampled."""
        return self.budget.expansions - self.expansions

    @property
    def over(self) -> bool:
        """Whether any of the limits is reached."""
        limit = self.budget.seconds
        if limit is not None and self.seconds >= limit:
            return True
        return min(self.tokens_left, self.calls_left, self.expansions_left) <= 0

    def charge_tokens(self, cost: int) -> bool:
        """Charges a sample; False when it does not fit and must be dropped."""
        fits = 0 < self.tokens_left >= cost
        self.policy_tokens += min(cost, self.tokens_left)
        return fits

    def charge_calls(self, wanted: int) -> int:
        """Charges value calls and returns how many of them are granted."""
        granted = min(wanted, self.calls_left)
        self.value_calls += granted
        return granted

    def charge_expansion(self) -> None:
        """Charges one expansion."""
        self.expansions += 1


class AmortizedClock:
    """Shares out the time among the searches under way.

    ``total`` grows by 1 / (searches under way) per second, so what a search has spent is ``total``
    now less ``total`` when it began.

    Args:
        clock: seconds from any fixed moment on, such as ``time.monotonic``.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.total = 0.0
        self.under_way = 0
        self._read = clock()

    def read(self) -> float:
        """Shares out the time since the last reading; returns ``total``."""
        now = self.clock()
        if self.under_way:
            self.total += (now - self._read) / self.under_way
        self._read = now
        return self.total

    def begin(self) -> float:
        """Counts a search in; returns ``total``."""
        total = self.read()
        self.under_way += 1
        return total

    def end(self) -> None:
        """Counts a search out."""
        self.read()
        self.under_way -= 1

    def skip(self) -> None:
        """Leaves the time since the last reading to nobody."""
        self._read = self.clock()
