from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.search.budget import Budget, Ledger


@settings(max_examples=100, deadline=None)
@given(limit=st.integers(1, 50), costs=st.lists(st.integers(0, 20), max_size=20))
def test_tokens_are_charged_in_order_and_never_beyond_the_limit(
    limit: int, costs: list[int]
) -> None:
    ledger = Ledger(Budget(limit, 1, 1))
    bought = [cost for cost in costs if ledger.charge_tokens(cost)]
    assert ledger.policy_tokens == min(sum(costs), limit)
    assert sum(bought) <= ledger.policy_tokens
    assert bought == costs[: len(bought)]
    assert ledger.over == (sum(costs) >= limit)


def test_calls_are_granted_as_far_as_they_go() -> None:
    ledger = Ledger(Budget(10, 5, 10))
    assert [ledger.charge_calls(3), ledger.charge_calls(3), ledger.charge_calls(3)] == [3, 2, 0]
    assert ledger.value_calls == 5 and ledger.over


def test_any_limit_ends_the_budget() -> None:
    ledger = Ledger(Budget(10, 5, 1))
    assert not ledger.over
    ledger.charge_expansion()
    assert ledger.over and ledger.expansions_left == 0


def test_limits_below_1_are_refused() -> None:
    with pytest.raises(ValueError, match="value_calls must be at least 1, got 0"):
        Budget(1, 0, 1)


def test_seconds_end_the_budget_too() -> None:
    ledger = Ledger(Budget(10, 5, 5, seconds=0.5))
    assert not ledger.over
    ledger.seconds = 0.5
    assert ledger.over and ledger.tokens_left == 10
    assert not Ledger(Budget(10, 5, 5), seconds=1e9).over


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_seconds_must_be_positive_and_finite(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must be positive"):
        Budget(1, 1, 1, seconds=seconds)
