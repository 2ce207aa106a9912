"""Policies, value models and a clock for the tests of the drivers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from qstar_core.mdp import Problem
from qstar_core.policies import Policy, Sample, SampleRequest
from tests.search.trees import TableValue, Tree, make_config, make_problem

T = TypeVar("T")
Done = Callable[[int, int], None]

METHODS = [
    make_config(k=4, n=2),
    make_config(k=3, n=3, heuristic="lookahead", reward="rules", aggregation="sum"),
    make_config(algorithm="best_of_n", n=10, reward="rules"),
    make_config(algorithm="greedy"),
]


def named(forest: list[Tree]) -> list[tuple[Problem, Tree]]:
    """A problem for each tree."""
    return [(make_problem(f"q{i}"), tree) for i, tree in enumerate(forest)]


class Spy:
    """A policy that remembers what it was asked and what it answered."""

    fingerprint = "spy"
    batch_independent = True

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.batches: list[list[SampleRequest]] = []
        self.samples: list[Sample] = []

    def sample(
        self, requests: Sequence[SampleRequest], done: Done | None = None
    ) -> list[list[Sample]]:
        answers = self.policy.sample(requests)
        self.batches.append(list(requests))
        self.samples += [sample for answer in answers for sample in answer]
        return answers


class Clock:
    """Stands still but for what is added to it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Slow(Spy):
    """Takes a second of a clock for each call."""

    def __init__(self, policy: Policy, clock: Clock) -> None:
        super().__init__(policy)
        self.clock = clock

    def sample(
        self, requests: Sequence[SampleRequest], done: Done | None = None
    ) -> list[list[Sample]]:
        self.clock.now += 1.0
        return super().sample(requests)


class Restless(Spy):
    """An asynchronous policy that answers in random order, after random small pauses.

    Attributes:
        waiting: texts of the requests under work.
        most: of them at once, so far.
        ended: texts in the order in which they were answered.
        left_over: tasks that were still there at the end of a run.
    """

    def __init__(self, policy: Policy, seed: int = 0, pause_s: float = 0.0005) -> None:
        super().__init__(policy)
        self.rng = random.Random(seed)
        self.pause_s = pause_s
        self.waiting: list[str] = []
        self.most = 0
        self.ended: list[str] = []
        self.left_over: list[asyncio.Task[Any]] = []

    def pause(self, text: str) -> float:
        """Seconds before the answer to a text."""
        return self.rng.choice([0.0, 0.0, self.rng.random() * self.pause_s])

    async def rest(self, text: str) -> None:
        """Goes by before the answer to a text."""
        await asyncio.sleep(self.pause(text))

    async def sample_async(
        self, requests: Sequence[SampleRequest], done: Done | None = None
    ) -> list[list[Sample]]:
        if not requests:
            return []
        text = requests[0].text
        self.waiting.append(text)
        self.most = max(self.most, len(self.waiting))
        try:
            await self.rest(text)
        finally:
            self.waiting.remove(text)
        self.ended.append(text)
        return self.sample(requests, done)

    def run(self, task: Coroutine[Any, Any, T]) -> T:
        async def watched() -> T:
            try:
                return await task
            finally:
                everything = asyncio.all_tasks() - {asyncio.current_task()}
                self.left_over = [left for left in everything if left is not None]

        return asyncio.run(watched())


class BrokenValue(TableValue):
    """Raises or lies for one problem."""

    def __init__(self, *trees: tuple[Problem, Tree], answer: float | Exception) -> None:
        super().__init__(*trees)
        self.answer = answer

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        values = super().score(texts, ended)
        if any(text.startswith("q1") for text in texts):
            if isinstance(self.answer, Exception):
                raise self.answer
            lie, pairs = self.answer, zip(texts, values, strict=True)
            return [lie if text.startswith("q1") else v for text, v in pairs]
        return values
