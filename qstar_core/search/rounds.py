"""Whole rollouts from the question in rounds, for the methods that know nothing of a tree.

The size of a round changes the speed, never what is found: samples are numbered and charged in
order.
"""

from __future__ import annotations

from collections.abc import Callable

from qstar_core.search.budget import Ledger
from qstar_core.search.requests import Asking, rollout
from qstar_core.search.trace import Node, Tree

FIRST_ROUND = 8  # rollouts drawn before their mean cost is known
FIRST_TIMED_ROUND = 2  # the same under a limit of seconds, which cannot end a round in its middle

Ends = list[tuple[int, Node]]
"""Policy tokens spent when a rollout was there, and the node at its end; equal ones share it."""


def draw_rounds(tree: Tree, ledger: Ledger, take: Callable[[Ends], Asking[bool]]) -> Asking[bool]:
    """Draws rollouts until there are N or the budget is over.

    Args:
        tree: takes them; its configuration has N.
        ledger: what is left.
        take: given the rollouts of each round; may ask for their values, and tells whether it got
            all of them.

    Returns:
        Whether the budget was enough for all N, also where it was spent to the last token. One
        that ended then and left out a rollout, be it as cut off, was not.
    """
    drawn, enough = 0, False
    while drawn < tree.config.n and not ledger.over:
        size = min(tree.config.n - drawn, round_size(drawn, ledger))
        rollouts = yield from rollout(tree.root.state, size)
        drawn += size
        paid = len(rollouts) == size or not ledger.over
        valued = yield from take([(one.spent, tree.add_drawn(one)) for one in rollouts])
        enough = paid and valued
    return drawn >= tree.config.n and enough


def round_size(drawn: int, ledger: Ledger) -> int:
    """How many more rollouts the tokens and seconds left are likely to pay for, at least 1."""
    limit = ledger.budget.seconds
    if not drawn:
        return FIRST_ROUND if limit is None else FIRST_TIMED_ROUND
    mean_tokens = max(1.0, ledger.policy_tokens / drawn)
    size = int(ledger.tokens_left / mean_tokens)
    if limit is not None:
        # the first rounds are no measure of the time of larger ones
        fits = (limit - ledger.seconds) * drawn / ledger.seconds if ledger.seconds else drawn
        size = min(size, drawn, int(fits))
    return max(1, size)
