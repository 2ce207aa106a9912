from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.config import SearchConfig
from qstar_core.rewards import AGGREGATIONS

rewards = st.lists(st.floats(-10, 10), min_size=1, max_size=8)


def test_by_hand() -> None:
    path = [0.5, -1.0, 0.75]
    values = {name: aggregate(path) for name, aggregate in AGGREGATIONS.items()}
    assert values == {"min": -1.0, "max": 0.75, "sum": 0.25, "last": 0.75}


@pytest.mark.parametrize("name", sorted(AGGREGATIONS))
def test_no_steps_give_0(name: str) -> None:
    assert AGGREGATIONS[name]([]) == 0.0


@given(rewards)
def test_bounds(path: list[float]) -> None:
    values = {name: aggregate(path) for name, aggregate in AGGREGATIONS.items()}
    assert values["min"] <= values["last"] <= values["max"]
    assert math.isclose(values["sum"], math.fsum(path), abs_tol=1e-9)


def test_the_configuration_offers_exactly_these() -> None:
    offered = get_args(SearchConfig.model_fields["aggregation"].annotation)
    assert set(offered) == set(AGGREGATIONS)
