from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.errors import TokensSpent
from qstar_core.mdp import Step
from qstar_core.policies import AsyncPolicy, Policy, Sample, SampleRequest, StepRule
from qstar_core.policies.allowance import Allowance
from qstar_core.policies.journal import Journal
from qstar_core.policies.metered import Meter, Metered, Part, metered, unmetered

T = TypeVar("T")
Done = Callable[[int, int], None]
LONGEST = 9


class Dice:
    """Samples of 1 to `LONGEST` tokens, by their seeds; remembers what it was asked."""

    fingerprint = "dice"
    batch_independent = True

    def __init__(self, failing: int | None = None) -> None:
        self.asked: list[int] = []
        self.failing = failing

    def sample(
        self, requests: Sequence[SampleRequest], done: Done | None = None
    ) -> list[list[Sample]]:
        answers = []
        for ask in requests:
            if self.failing in ask.seeds:
                raise ValueError("refused")
            self.asked += ask.seeds
            some = [Sample((Step(f"{seed}\n", 1 + seed % LONGEST),), "end") for seed in ask.seeds]
            if done is not None:
                done(len(some), sum(sample.tokens for sample in some))
            answers.append(some)
        return answers


class AsyncDice(Dice):
    async def sample_async(
        self, requests: Sequence[SampleRequest], done: Done | None = None
    ) -> list[list[Sample]]:
        await asyncio.sleep(0.001 * (sum(map(len, (ask.seeds for ask in requests))) % 3))
        return self.sample(requests, done)

    def run(self, task: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(task)


def ask(seeds: Sequence[int]) -> SampleRequest:
    return SampleRequest(f"{min(seeds, default=0)}", tuple(seeds), 1, LONGEST, 1.0)


def asks(sizes: Sequence[int]) -> list[SampleRequest]:
    first, found = 0, []
    for size in sizes:
        found.append(ask(range(first, first + size)))
        first += size
    return found


def runs(requests: list[SampleRequest], path: Path, limit: int, batch: int) -> list[int]:
    """Runs with a limit each until all is sampled; what each has spent."""
    expected, engine, spent = Dice().sample(requests), Dice(), list[int]()
    while True:
        allowance = Allowance(None, limit)
        meter = Meter(allowance, Journal(path))
        told = [0, 0]

        def done(samples: int, tokens: int, told: list[int] = told) -> None:
            told[0], told[1] = told[0] + samples, told[1] + tokens

        try:
            assert Metered(engine, meter, batch).sample(requests, done) == expected
        except TokensSpent as error:
            assert f"{limit:,} policy tokens" in str(error)
            meter.journal.save()
            spent.append(meter.spent)
            continue
        finally:
            assert allowance.spent == meter.spent
            meter.close()
        assert told == [len(engine.asked), sum(1 + seed % LONGEST for seed in engine.asked)]
        assert len(set(engine.asked)) == len(engine.asked)  # nothing was paid for twice
        return [*spent, meter.spent]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 6), max_size=8),
    limit=st.integers(1, 150),
    batch=st.integers(1, 7),
)
def test_runs_go_over_by_a_batch_at_most_and_end_in_the_answers_of_one_without_a_limit(
    sizes: list[int], limit: int, batch: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "shard.jsonl"
    requests = asks(sizes)
    *stopped, last = runs(requests, path, limit, batch)
    assert all(limit <= spent < limit + batch * LONGEST for spent in stopped)
    assert last < limit + batch * LONGEST
    total = sum(sum(s.tokens for s in some) for some in Dice().sample(requests))
    assert sum(stopped) + last == total


def test_without_a_limit_the_engine_gets_one_call(tmp_path: Path) -> None:
    calls: list[int] = []

    class Counting(Dice):
        def sample(self, requests: Sequence[SampleRequest], done: Done | None = None) -> Any:
            calls.append(len(requests))
            return super().sample(requests, done)

    meter = Meter(None, Journal(tmp_path / "none"))
    Metered(Counting(), meter, 2).sample(asks([2, 2, 1]))
    assert calls == [3] and meter.spent == 15
    meter.journal.save()
    assert not Journal(tmp_path / "none")  # nothing is remembered that no stop will need


def test_a_refused_call_costs_what_was_finished(tmp_path: Path) -> None:
    allowance = Allowance(None, 100)
    meter = Meter(allowance, Journal(tmp_path / "none"))
    policy = Metered(Dice(failing=3), meter, 100)
    with pytest.raises(ValueError, match="refused"):
        policy.sample(asks([2, 2]))
    assert allowance.spent == meter.spent == 1 + 2
    assert allowance.claim([10], 1) == 1  # nothing is held any more
    meter.close()


@settings(deadline=None, max_examples=20)
@given(limit=st.integers(1, 120), batch=st.integers(1, 4))
def test_many_who_ask_at_once_lose_nothing(
    limit: int, batch: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "shard.jsonl"
    requests, engine = asks([3] * 10), AsyncDice()

    async def all_of(policy: AsyncPolicy) -> list[Any]:
        async def one(request: SampleRequest) -> Any:
            return (await policy.sample_async([request]))[0]

        return await asyncio.gather(*map(one, requests), return_exceptions=True)

    for _ in range(1000):
        allowance = Allowance(None, limit)
        meter = Meter(allowance, Journal(path))
        policy = metered(engine, meter, batch)
        assert isinstance(policy, AsyncPolicy)
        found = policy.run(all_of(policy))
        meter.journal.save()
        meter.close()
        assert meter.spent < limit + batch * LONGEST
        if not any(isinstance(each, Exception) for each in found):
            break
        assert all(isinstance(e, TokensSpent) for e in found if isinstance(e, Exception))
    assert found == Dice().sample(requests)
    assert len(set(engine.asked)) == len(engine.asked)


def test_what_a_part_takes_at_most() -> None:
    assert Part(0, ask([1, 2, 3])).worst == 3 * LONGEST
    code = SampleRequest("", (1,), 2, 99, 1.0, StepRule(False, 24))
    assert Part(0, code).worst == 48


def test_the_engine_behind_it(tmp_path: Path) -> None:
    engine: Policy = Dice()
    assert metered(engine, None, 1) is engine
    counted = metered(engine, Meter(None, Journal(tmp_path / "none")), 1)
    assert not isinstance(counted, AsyncPolicy)
    assert unmetered(counted) is engine and unmetered(engine) is engine
    assert (counted.fingerprint, counted.batch_independent) == ("dice", True)
