from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from qstar_core import search_jobs
from qstar_core.config import EvaluationConfig, RunConfig
from qstar_core.search.budget import Budget


def test_a_limit_of_seconds_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def search(spec: Any, config: Any, method: Any, budget: Any, progress: Any) -> Any:
        given.append(budget)
        return pa.table({"algorithm": ["astar"]}), {}

    monkeypatch.setattr(search_jobs, "_search", search)
    monkeypatch.setattr(search_jobs, "finish", lambda spec, tables, figures: figures)
    small = EvaluationConfig(max_value_calls=7, max_expansions=9)
    for stage, amount in (("timing", 0.5), ("comparison", 100)):
        spec = {"stage": stage, "method": 0, "budget": amount, "shard": "s"}
        search_jobs.sweep(spec, RunConfig(evaluation=small), lambda *_: None)
    assert given == [Budget(10**6, 10**6, 10**6, seconds=0.5), Budget(100, 7, 9)]
