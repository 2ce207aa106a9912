"""A policy whose tokens are counted, and which stops when a budget is spent.

Without a budget a call goes to the engine as it is. With one it is made in parts, none larger than
what is left, down to one engine batch, which is how far a run goes over at most. What was sampled
before the stop is kept in a journal, so the run that goes on pays for nothing twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from qstar_core.errors import TokensSpent
from qstar_core.policies import AsyncPolicy, Policy, Sample, SampleRequest
from qstar_core.policies.allowance import Allowance
from qstar_core.policies.journal import Journal

T = TypeVar("T")
Done = Callable[[int, int], None]
WAIT_S = 0.05


class Meter:
    """Counts the tokens of one shard, of all its policies.

    Args:
        allowance: of the run; None where nothing is limited.
        journal: of the shard.
    """

    def __init__(self, allowance: Allowance | None, journal: Journal) -> None:
        self.allowance, self.journal = allowance, journal
        self.spent = 0

    def stopped(self) -> TokensSpent:
        """The error of a shard that has to stop."""
        limit = 0 if self.allowance is None else self.allowance.limit
        return TokensSpent(f"the {limit:,} policy tokens of this run are spent")

    def close(self) -> None:
        """Nothing is counted any more."""
        if self.allowance is not None:
            self.allowance.close()


@dataclass(frozen=True, slots=True)
class Part:
    """Some samples of a request.

    Attributes:
        number: of the request.
        request: for these samples.
    """

    number: int
    request: SampleRequest

    @property
    def worst(self) -> int:
        """Policy tokens it takes at most."""
        limit, rule = self.request.max_new_tokens, self.request.rule
        if rule.tokens:
            limit = min(limit, rule.tokens * self.request.max_steps)
        return limit * len(self.request.seeds)


class Call:
    """One call of `Metered`: what is still to be sampled, and what was."""

    def __init__(self, policy: Metered, requests: Sequence[SampleRequest], done: Done) -> None:
        self.meter, self.policy, self._tell = policy.meter, policy, done
        self._told = 0  # tokens of finished samples, since the last `settle`
        self.parts = [
            Part(number, replace(ask, seeds=ask.seeds[first : first + policy.batch_size]))
            for number, ask in enumerate(requests)
            for first in range(0, len(ask.seeds), policy.batch_size)
        ]
        self.answers: list[list[Sample] | None] = [self._known(part) for part in self.parts]
        self.waiting = [k for k, answer in enumerate(self.answers) if answer is None]
        self.count = len(requests)

    def _known(self, part: Part) -> list[Sample] | None:
        found = self.meter.journal.get(self.policy.fingerprint, part.request)
        if found is not None:
            self._tell(len(found), sum(sample.tokens for sample in found))
        return found

    def done(self, samples: int, tokens: int) -> None:
        """Takes what the engine tells."""
        self._told += tokens
        self._tell(samples, tokens)

    def claim(self) -> list[int]:
        """The next parts that may be sampled; none while others hold what is left.

        Raises:
            TokensSpent: all is spent.
        """
        allowance = self.meter.allowance
        if allowance is None:
            return self.waiting
        worst = [self.parts[k].worst for k in self.waiting]
        count = allowance.claim(worst, self._batch())
        if count is None:
            raise self.meter.stopped()
        return self.waiting[:count]

    def _batch(self) -> int:
        """How many of the waiting parts make an engine batch."""
        sequences = 0
        for count, k in enumerate(self.waiting):
            sequences += len(self.parts[k].request.seeds)
            if sequences > self.policy.batch_size:
                return max(1, count)
        return len(self.waiting)

    def asked(self, chosen: Sequence[int]) -> list[SampleRequest]:
        """The requests of parts."""
        return [self.parts[k].request for k in chosen]

    def settle(self, chosen: Sequence[int], found: Sequence[list[Sample]] | None) -> None:
        """Takes the answers to parts; None where the engine failed: what it finished was paid."""
        held = sum(self.parts[k].worst for k in chosen)
        took = self._told if found is None else sum(s.tokens for some in found for s in some)
        self.meter.spent, self._told = self.meter.spent + took, 0
        if self.meter.allowance is not None:
            self.meter.allowance.settle(held, took)
        if found is None:
            return
        for k, samples in zip(chosen, found, strict=True):
            self.answers[k] = samples
            if self.meter.allowance is not None:
                self.meter.journal.add(self.policy.fingerprint, self.parts[k].request, samples)
        self.waiting = self.waiting[len(chosen) :]

    def whole(self) -> list[list[Sample]]:
        """The answers to the requests."""
        samples: list[list[Sample]] = [[] for _ in range(self.count)]
        for part, answer in zip(self.parts, self.answers, strict=True):
            samples[part.number] += answer or []
        return samples


class Metered:
    """A policy that is counted.

    Args:
        policy: it is.
        meter: counts.
        batch_size: sequences that the engine works on at once.
    """

    def __init__(self, policy: Policy, meter: Meter, batch_size: int) -> None:
        self.inner, self.meter, self.batch_size = policy, meter, batch_size
        self.fingerprint = policy.fingerprint
        self.batch_independent = policy.batch_independent

    def sample(
        self, requests: Sequence[SampleRequest], done: Done | None = None
    ) -> list[list[Sample]]:
        """As `qstar_core.policies.Policy.sample`.

        Raises:
            TokensSpent: the run's tokens are spent before all is sampled.
        """
        call = Call(self, requests, done or _nobody)
        while call.waiting:
            chosen = call.claim()
            if not chosen:
                time.sleep(WAIT_S)
                continue
            found = None
            try:
                found = self.inner.sample(call.asked(chosen), call.done)
            finally:
                call.settle(chosen, found)
        return call.whole()


class MeteredAsync(Metered):
    """A policy that answers asynchronously and is counted."""

    inner: AsyncPolicy

    async def sample_async(
        self, requests: Sequence[SampleRequest], done: Done | None = None
    ) -> list[list[Sample]]:
        """As `qstar_core.policies.AsyncPolicy.sample_async`.

        Raises:
            TokensSpent: as in `sample`; only once nothing is under way any more.
        """
        call = Call(self, requests, done or _nobody)
        while call.waiting:
            chosen = call.claim()
            if not chosen:
                await asyncio.sleep(WAIT_S)
                continue
            found = None
            try:
                found = await self.inner.sample_async(call.asked(chosen), call.done)
            finally:
                call.settle(chosen, found)
        return call.whole()

    def run(self, task: Coroutine[Any, Any, T]) -> T:
        """As `qstar_core.policies.AsyncPolicy.run`."""
        return self.inner.run(task)


def metered(policy: Policy, meter: Meter | None, batch_size: int) -> Policy:
    """The policy, counted where there is a meter."""
    if meter is None:
        return policy
    if isinstance(policy, AsyncPolicy):
        return MeteredAsync(policy, meter, batch_size)
    return Metered(policy, meter, batch_size)


def unmetered(policy: Policy) -> Policy:
    """The engine itself, which answers nothing from a journal."""
    return policy.inner if isinstance(policy, Metered) else policy


def _nobody(samples: int, tokens: int) -> None:
    """Nobody is told."""
