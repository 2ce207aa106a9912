from __future__ import annotations

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
