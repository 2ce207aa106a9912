"""Searches that go on by themselves: the same results, no barrier, nothing left behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.config import SearchConfig
from qstar_core.errors import EngineUnavailable
from qstar_core.mdp import Problem
from qstar_core.policies import AsyncPolicy, Sample, SampleRequest
from qstar_core.search.budget import Budget
from qstar_core.search.driver import run
from qstar_core.search.driver_async import most_telling
from qstar_core.search.trace import SearchResult
from tests.processes import PATIENCE_S
from tests.search.engines import METHODS, BrokenValue, Done, Restless, named
from tests.search.trees import AMPLE, EXAMPLE, TableValue, Tree, make_config, make_policy, trees


@settings(max_examples=60, deadline=None)
@given(
    forest=st.lists(trees(), min_size=1, max_size=5),
    config=st.sampled_from(METHODS),
    active=st.integers(1, 6),
    limits=st.tuples(st.integers(1, 60), st.integers(1, 20), st.integers(1, 8)),
    seed=st.integers(0, 99),
)
def test_results_are_those_of_the_rounds(
    forest: list[Tree],
    config: SearchConfig,
    active: int,
    limits: tuple[int, int, int],
    seed: int,
) -> None:
    pairs = named(forest)
    problems = [problem for problem, _ in pairs]
    policy, value = make_policy(*pairs), TableValue(*pairs)
    expected = run(problems, config, Budget(*limits), policy, value, run_seed=4)
    restless = Restless(policy, seed)
    told: list[tuple[int, int, int]] = []
    results = run(
        problems,
        config,
        Budget(*limits),
        restless,
        value,
        run_seed=4,
        active=active,
        on_progress=lambda *counts: told.append(counts),
    )
    assert results == expected
    assert restless.left_over == []
    assert restless.most <= active
    assert sum(done for done, _, _ in told) == len(problems)
    assert sum(tokens for _, tokens, _ in told) == sum(r.policy_tokens for r in results)
    assert all(1 <= under_way <= active for _, _, under_way in told)


def test_policies_are_told_apart() -> None:
    policy = make_policy()
    assert not isinstance(policy, AsyncPolicy)
    assert isinstance(Restless(policy), AsyncPolicy)


@pytest.mark.parametrize("config", METHODS, ids=["edge", "lookahead", "best_of_n", "greedy"])
def test_a_problem_that_the_policy_refuses_fails_alone(config: SearchConfig) -> None:
    pairs = named([EXAMPLE] * 4)
    policy = make_policy(*pairs[:1], *pairs[2:])  # knows no steps for q1
    problems = [p for p, _ in pairs]
    results = run(problems, config, AMPLE, Restless(policy), TableValue(*pairs), run_seed=4)
    assert results == run(problems, config, AMPLE, policy, TableValue(*pairs), run_seed=4)
    assert [r.stop_reason == "error" for r in results] == [False, True, False, False]


def test_a_problem_that_the_value_model_refuses_fails_alone() -> None:
    pairs = named([EXAMPLE] * 3)
    value = BrokenValue(*pairs, answer=ValueError("too long"))
    policy = Restless(make_policy(*pairs))
    results = run([p for p, _ in pairs], make_config(), AMPLE, policy, value, run_seed=4)
    assert [r.error for r in results] == ["", "ValueError: too long", ""]


class Gone(Restless):
    """Has no servers any more when asked for one problem."""

    async def sample_async(
        self, requests: Sequence[SampleRequest], done: Done | None = None
    ) -> list[list[Sample]]:
        answers = await super().sample_async(requests, done)
        if any(request.text.startswith("q2") for request in requests):
            raise EngineUnavailable("no server answers")
        return answers


def test_an_engine_that_is_gone_ends_all() -> None:
    pairs = named([EXAMPLE] * 6)
    policy = Gone(make_policy(*pairs))
    ended: list[int] = []
    with pytest.raises(EngineUnavailable, match="no server answers"):
        run(
            [p for p, _ in pairs],
            make_config(),
            AMPLE,
            policy,
            TableValue(*pairs),
            run_seed=4,
            active=3,
            on_result=lambda place, result: ended.append(place),
        )
    assert 2 not in ended and policy.left_over == [] and policy.waiting == []


def test_trouble_of_the_value_model_is_raised() -> None:
    pairs = named([EXAMPLE] * 4)
    value = BrokenValue(*pairs, answer=RuntimeError("out of memory"))
    policy = Restless(make_policy(*pairs))
    with pytest.raises(RuntimeError, match="out of memory"):
        run([p for p, _ in pairs], make_config(), AMPLE, policy, value, run_seed=4)
    assert policy.left_over == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("values")]


class BusyValue(TableValue):
    """Takes its time, and counts the calls that run at once."""

    def __init__(self, *trees: tuple[Problem, Tree]) -> None:
        super().__init__(*trees)
        self.running = self.most = 0

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(0.02)
        self.running -= 1
        return super().score(texts, ended)


def test_what_is_asked_while_the_value_model_is_busy_is_merged() -> None:
    pairs = named([EXAMPLE] * 20)
    value = BusyValue(*pairs)
    policy = Restless(make_policy(*pairs), pause_s=0.002)
    results = run([p for p, _ in pairs], make_config(n=2), AMPLE, policy, value, run_seed=4)
    groups = sum(result.expansions for result in results)
    assert value.most == 1
    assert value.calls < groups / 2


class OneSlow(Restless):
    """Answers one problem only once ``others_ended``, and the others at once."""

    others_ended = False

    async def rest(self, text: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while text.startswith("q0") and not self.others_ended and time.monotonic() < end:
            await asyncio.sleep(0.001)


def test_a_slow_search_holds_up_nobody() -> None:
    pairs = named([EXAMPLE] * 30)
    policy = OneSlow(make_policy(*pairs))
    ended: list[int] = []

    def note(place: int, result: SearchResult) -> None:
        ended.append(place)
        policy.others_ended = len(ended) == len(pairs) - 1

    run(
        [p for p, _ in pairs],
        make_config(n=2),
        AMPLE,
        policy,
        TableValue(*pairs),
        run_seed=4,
        active=2,
        on_result=note,
    )
    assert sorted(ended) == list(range(30)) and ended[-1] == 0
    first = next(k for k, text in enumerate(policy.ended) if text.startswith("q0"))
    assert first > 30  # requests of the others that were asked and answered meanwhile


def test_the_error_that_says_most() -> None:
    gone, other = EngineUnavailable("gone"), RuntimeError("other")
    nested = ExceptionGroup("", [other, ExceptionGroup("", [gone])])
    assert most_telling(nested) is gone
    assert most_telling(ExceptionGroup("", [ExceptionGroup("", [other])])) is other
