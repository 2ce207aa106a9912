from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qstar_core.config import RuntimeConfig
from tasks.budget import Budget


def test_tokens_of_finished_shards_count() -> None:
    budget = Budget(RuntimeConfig(max_tokens=100))
    budget.take({"figures": {"tokens": 60}})
    budget.take({"figures": {"steps": 3}})
    assert budget.spent() == ""
    budget.take({"figures": {"tokens": 41}})
    assert budget.spent() == "runtime.max_tokens: 101 of 100 policy tokens are spent"


def test_hours_count_from_the_beginning() -> None:
    now = 1000.0
    budget = Budget(RuntimeConfig(max_hours=0.5), clock=lambda: now)
    assert budget.spent() == ""
    now += 1799
    assert budget.spent() == ""
    now += 2
    assert budget.spent() == "runtime.max_hours: 0.50 of 0.5 hours are spent"


def test_no_limit() -> None:
    budget = Budget(RuntimeConfig())
    budget.take({"figures": {"tokens": 10**12}})
    assert budget.spent() == ""


def test_money_counts_by_the_price_of_a_million_tokens() -> None:
    budget = Budget(RuntimeConfig(max_price=0.5, price_per_million_tokens=2.0))
    budget.take({"figures": {"tokens": 249_999}})
    assert budget.spent() == ""
    budget.take({"figures": {"tokens": 1}})
    assert budget.price == 0.5
    assert budget.spent() == "runtime.max_price: 0.5 of 0.5 are spent"


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6))
def test_what_is_kept_is_left_for_the_last_stages(used: int, kept: int, limit: int) -> None:
    budget = Budget(RuntimeConfig(max_tokens=limit))
    budget.take({"figures": {"tokens": used}})
    budget.keep(kept)
    aside = min(kept, limit // 2)
    assert bool(budget.spent()) == (used + aside >= limit)
    budget.give_back()
    assert bool(budget.spent()) == (used >= limit and aside == 0)
    budget.take({"figures": {"tokens": aside}})
    assert bool(budget.spent()) == (used + aside >= limit)


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_money_is_kept_as_its_tokens(kept: int, limit: int) -> None:
    options = RuntimeConfig(max_price=limit / 1e6, price_per_million_tokens=1.0)
    budget = Budget(options)
    budget.keep(kept)
    assert budget.spent() == ""
    budget.take({"figures": {"tokens": limit - min(kept, limit // 2)}})
    assert "max_price" in budget.spent()
    budget.give_back()
    assert bool(budget.spent()) == (min(kept, limit // 2) == 0)


@given(st.integers(0, 10**9), st.floats(0.0, 1e6), st.integers(1, 10**6))
def test_the_first_stages_may_start_however_much_is_asked_for_the_last(
    tokens: int, seconds: float, limit: int
) -> None:
    priced = {"max_price": limit / 1e6, "price_per_million_tokens": 1.0}
    for options in ({"max_tokens": limit}, {"max_hours": 1.0}, priced):
        budget = Budget(RuntimeConfig.model_validate(options), clock=lambda: 0.0)
        budget.keep(tokens, seconds)
        assert budget.spent() == ""


def test_hours_are_kept_too() -> None:
    now = 0.0
    budget = Budget(RuntimeConfig(max_hours=1.0), clock=lambda: now)
    budget.keep(seconds=600.0)
    now = 3000.0
    assert "kept for the evaluation" in budget.spent()
    now = 3700.0  # the shards under work took longer
    budget.give_back()
    assert budget.spent() == ""
    now = 4300.0
    assert budget.spent() == "runtime.max_hours: 1.19 of 1 hours are spent"
