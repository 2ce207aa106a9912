from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.errors import EngineUnavailable
from qstar_core.search.calls import refusable, refusable_async


def double(numbers: Sequence[int]) -> list[int]:
    if any(n < 0 for n in numbers):
        raise ValueError("negative")
    return [2 * n for n in numbers]


async def double_soon(numbers: Sequence[int]) -> list[int]:
    await asyncio.sleep(0)
    return double(numbers)


@given(items=st.lists(st.integers(-5, 5), max_size=12))
def test_refusable_finds_exactly_the_refused(items: list[int]) -> None:
    for answers in (refusable(double, items), asyncio.run(refusable_async(double_soon, items))):
        assert [None if isinstance(a, Exception) else a for a in answers] == [
            2 * n if n >= 0 else None for n in items
        ]


def test_an_engine_that_is_gone_is_no_request_s_fault() -> None:
    calls = []

    def gone(numbers: Sequence[int]) -> list[int]:
        calls.append(len(numbers))
        raise EngineUnavailable("no server answers")

    async def gone_soon(numbers: Sequence[int]) -> list[int]:
        return gone(numbers)

    with pytest.raises(EngineUnavailable):
        refusable(gone, [1, 2, 3])
    with pytest.raises(EngineUnavailable):
        asyncio.run(refusable_async(gone_soon, [1, 2, 3]))
    assert calls == [3, 3]
