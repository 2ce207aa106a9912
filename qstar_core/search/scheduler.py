"""Where the searches of a run begin and end: time is charged, results and progress handed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qstar_core.mdp import Problem
from qstar_core.search.budget import AmortizedClock
from qstar_core.search.slot import Rules, Slot, start
from qstar_core.search.trace import SearchResult

OnResult = Callable[[int, SearchResult], None]
"""Called with (place of the problem, its result) when a search ends."""
OnProgress = Callable[[int, int, int], None]
"""Called with (searches ended, policy tokens charged) since the last call and (under way)."""


@dataclass(slots=True)
class Scheduler:
    """Begins the searches of a run and takes their results.

    Attributes:
        waiting: the problems that are still to be searched, with their places.
        rules: of the run, or of each problem at its place.
        clock: shares out the time. What the two callbacks take is charged to nobody.
        on_result: takes the results.
        on_progress: told after each step.
    """

    waiting: Iterator[tuple[int, Problem]]
    rules: Rules | Sequence[Rules]
    clock: AmortizedClock
    on_result: OnResult
    on_progress: OnProgress | None = None

    def begin(self) -> Slot | None:
        """The next search at its first request; None when there is none left."""
        following = next(self.waiting, None)
        if following is None:
            return None
        place, problem = following
        rules = self.rules if isinstance(self.rules, Rules) else self.rules[place]
        return start(place, problem, rules, self.clock.begin())

    def step(self, slots: Sequence[Slot]) -> list[Slot]:
        """Lets searches go on that have been answered.

        Returns:
            Those that have not ended.
        """
        total, under_way = self.clock.read(), self.clock.under_way
        tokens = 0
        for slot in slots:
            slot.ledger.seconds = total - slot.began
            tokens += slot.ledger.policy_tokens - slot.tokens_told
            slot.tokens_told = slot.ledger.policy_tokens
            if slot.result is None:
                slot.advance()
        ended = [slot for slot in slots if slot.result is not None]
        for _ in ended:
            self.clock.end()
        self.clock.read()
        for slot in ended:
            if slot.result is not None:
                self.on_result(slot.place, slot.result)
        if self.on_progress is not None:
            self.on_progress(len(ended), tokens, under_way)
        self.clock.skip()
        return [slot for slot in slots if slot.result is None]
