"""Runs many searches at once on a policy that answers asynchronously: no rounds, no barrier.

Each search goes on as soon as its own request is answered, so a slow answer holds up nobody else,
and the servers see new requests while others are under work. The scoring models take one call at a
time, in a thread of its own; what searches ask meanwhile is merged into the next call.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from qstar_core.errors import EngineUnavailable
from qstar_core.policies import AsyncPolicy
from qstar_core.search.calls import refusable, refusable_async
from qstar_core.search.scheduler import Scheduler
from qstar_core.search.scorers import Group, Scorers
from qstar_core.search.slot import Slot

Values = list[list[float] | Exception]
"""The answer to each of several groups of actions."""


class ScoreBatcher:
    """Asks the scoring models for all searches that wait for them.

    Args:
        scorers: the models.
    """

    def __init__(self, scorers: Scorers) -> None:
        self.scorers = scorers
        self._waiting: asyncio.Queue[tuple[list[Group], asyncio.Future[Values]]] = asyncio.Queue()

    async def ask(self, groups: list[Group]) -> Values:
        """The values of groups of actions; `serve` has to run meanwhile."""
        answer: asyncio.Future[Values] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((groups, answer))
        return await answer

    async def serve(self) -> None:
        """Answers until it is cancelled; a call under way is waited for, so none is left behind."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "values") as thread:
            while True:
                asked = [await self._waiting.get()]
                while not self._waiting.empty():
                    asked.append(self._waiting.get_nowait())
                groups = [group for some, _ in asked for group in some]
                found = await loop.run_in_executor(thread, refusable, self.scorers.values, groups)
                values = iter(found)
                for some, answer in asked:
                    part = [next(values) for _ in some]
                    if not answer.done():  # of a search that was cancelled
                        answer.set_result(part)


async def in_parallel(
    scheduler: Scheduler, policy: AsyncPolicy, scorers: Scorers, active: int
) -> None:
    """Lets searches go on by themselves until none is left, ``active`` of them at a time.

    Raises:
        EngineUnavailable: an engine as a whole cannot serve; all searches end.
    """
    batcher = ScoreBatcher(scorers)

    async def work() -> None:
        while (slot := scheduler.begin()) is not None:
            await answer(slot, policy, batcher)
            while scheduler.step([slot]):
                await answer(slot, policy, batcher)

    try:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(batcher.serve())
            async with asyncio.TaskGroup() as searches:
                for _ in range(active):
                    searches.create_task(work())
            serving.cancel()
    except BaseExceptionGroup as errors:
        raise most_telling(errors) from None


async def answer(slot: Slot, policy: AsyncPolicy, batcher: ScoreBatcher) -> None:
    """Answers what one search asks for now."""
    jobs = slot.sample_requests()
    samples = await refusable_async(policy.sample_async, [ask for _, ask in jobs])
    for (place, _), drawn in zip(jobs, samples, strict=True):
        slot.take_samples(place, drawn)
    groups = slot.score_requests()
    if groups:
        values = await batcher.ask([group for _, group in groups])
        for (place, _), found in zip(groups, values, strict=True):
            slot.take_values(place, found)


def most_telling(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of several errors that of an engine as a whole if there is one, else the first."""
    found: BaseException = errors.subgroup(EngineUnavailable) or errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
