"""What a search may spend on one problem, and what it has spent.

The driver charges the ledger, the search only reads it. A budget is never exceeded:

1. How many tokens a sample takes is known only once it is drawn. Samples are charged in the order
   of their index; the first one that costs more than is left is dropped and takes what was left,
   and with it the budget is over. So at most ``policy_tokens`` are charged, although the engine
   may have computed some samples that nobody gets to see.
2. When the budget is over, ``Ledger.over`` is true, and the driver answers any further request
   for samples with an empty list. Answers may be cut short at that moment; a search goes on with
   what it was given and returns the best it has.
"""

from __future__ import annotations

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
    """

    policy_tokens: int
    value_calls: int
    expansions: int

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(slots=True)
class Ledger:
    """What one search has spent of its budget."""

    budget: Budget
    policy_tokens: int = 0
    value_calls: int = 0
    expansions: int = 0

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
        """Whether any of the three limits is reached."""
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
