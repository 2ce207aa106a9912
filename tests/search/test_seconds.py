"""Budgets of machine seconds, on a clock that moves by one second per call to the policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.config import SearchConfig
from qstar_core.search.budget import AmortizedClock, Budget
from qstar_core.search.driver import run
from qstar_core.search.trace import SearchResult
from tests.search.engines import METHODS, Clock, Restless, Slow, named
from tests.search.trees import (
    EXAMPLE,
    TableValue,
    Tree,
    make_config,
    make_policy,
    make_problem,
    trees,
)

MANY = 10**6
LAST_ROUNDS = 3.0  # one beyond the limit, then others go on while this one is answered to its end
CHAIN: Tree = {"a\n": {"a\n": {"a\n": {"a\n": {"x": 1.0}}}}, "b": 0.5}


def search(
    forest: list[Tree], config: SearchConfig, seconds: float | None, active: int, late_s: float = 0
) -> tuple[list[SearchResult], float]:
    """The results, and what the clock has moved by itself."""
    pairs, clock, found = named(forest), Clock(), dict[int, SearchResult]()

    def keep(place: int, result: SearchResult) -> None:
        found[place] = result
        clock.now += late_s

    run(
        [problem for problem, _ in pairs],
        config,
        Budget(MANY, MANY, MANY, seconds),
        Slow(make_policy(*pairs), clock),
        TableValue(*pairs),
        run_seed=4,
        active=active,
        on_result=keep,
        clock=clock,
    )
    results = [found[place] for place in sorted(found)]
    return results, clock.now - Clock().now - late_s * len(results)


def test_a_search_ends_with_the_round_in_which_its_seconds_end() -> None:
    config = make_config(k=40, n=100)
    [free], took = search([CHAIN], config, None, 1)
    assert (free.seconds, took, free.stop_reason) == (5.0, 5.0, "exhausted")
    [limited], took = search([CHAIN], config, 2.5, 1)
    assert (limited.seconds, took, limited.stop_reason) == (3.0, 3.0, "budget")
    assert limited.expansions == 3
    assert limited.best is not None and limited.best.state.text == "q0\nb"


@given(
    forest=st.lists(trees(), min_size=1, max_size=6),
    config=st.sampled_from(METHODS),
    active=st.integers(1, 6),
    late_s=st.sampled_from([0.0, 50.0]),
)
def test_the_shares_add_up_to_the_time_of_all(
    forest: list[Tree], config: SearchConfig, active: int, late_s: float
) -> None:
    results, took = search(forest, config, None, active, late_s)
    assert sum(result.seconds for result in results) == pytest.approx(took)


@given(
    forest=st.lists(trees(), min_size=1, max_size=6),
    config=st.sampled_from(METHODS),
    active=st.integers(1, 6),
    limit=st.floats(0.1, 3.0),
)
def test_a_limit_is_exceeded_by_the_last_rounds_only(
    forest: list[Tree], config: SearchConfig, active: int, limit: float
) -> None:
    results, took = search(forest, config, limit, active)
    assert all(result.error == "" for result in results)
    for result in results:
        assert result.seconds < limit + LAST_ROUNDS
        assert result.stop_reason != "exhausted" or result.seconds < limit
    assert took <= len(forest) * (limit + LAST_ROUNDS)


@given(forest=st.lists(trees(), min_size=1, max_size=5), active=st.integers(1, 4))
def test_shares_of_searches_that_go_on_by_themselves(forest: list[Tree], active: int) -> None:
    pairs, clock = named(forest), Clock()
    policy = Restless(Slow(make_policy(*pairs), clock))
    results = run(
        [problem for problem, _ in pairs],
        make_config(k=3, n=2),
        Budget(MANY, MANY, MANY),
        policy,
        TableValue(*pairs),
        run_seed=4,
        active=active,
        clock=clock,
    )
    assert sum(result.seconds for result in results) == pytest.approx(clock.now - Clock().now)


def test_results_are_equal_whatever_their_seconds() -> None:
    (one,), _ = search([EXAMPLE], make_config(), None, 1)
    pair = (make_problem("q0"), EXAMPLE)
    [other] = run(
        [pair[0]], make_config(), Budget(9**9, 9**9, 9**9), make_policy(pair), TableValue(pair),
        run_seed=4,
    )  # fmt: skip
    assert one == other and one.seconds != other.seconds


def test_the_clock_shares_out_the_time_among_those_under_way() -> None:
    clock = Clock()
    shared = AmortizedClock(clock)
    clock.now += 5.0  # nobody is there yet
    first = shared.begin()
    clock.now += 2.0
    second = shared.begin()
    clock.now += 4.0
    assert (shared.read() - first, shared.read() - second) == (4.0, 2.0)
    shared.end()
    clock.now += 1.0
    assert shared.read() - first == 5.0
    clock.now += 9.0
    shared.skip()
    assert shared.read() - first == 5.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_limits_that_are_no_durations_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must be positive and finite"):
        Budget(1, 1, 1, seconds)
