"""Calls to the engines with the requests of many searches, some of which may be refused.

A request that an engine refuses with a ValueError or UserError is answered with that error. Any
other exception (out of memory, a lost device or server) is no request's fault and is raised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from qstar_core.errors import EngineUnavailable, UserError

REFUSALS = (ValueError, UserError)

In = TypeVar("In")
Out = TypeVar("Out")


def refusable(
    call: Callable[[Sequence[In]], list[Out]], items: Sequence[In]
) -> list[Out | Exception]:
    """Calls with all items; when that is refused, halves them to find out which are refused."""
    if not items:
        return []
    try:
        return list(call(items))
    except EngineUnavailable:
        raise
    except REFUSALS as error:
        if len(items) == 1:
            return [error]
    middle = len(items) // 2
    return refusable(call, items[:middle]) + refusable(call, items[middle:])


async def refusable_async(
    call: Callable[[Sequence[In]], Awaitable[list[Out]]], items: Sequence[In]
) -> list[Out | Exception]:
    """As `refusable`, of a call that is awaited."""
    if not items:
        return []
    try:
        return list(await call(items))
    except EngineUnavailable:
        raise
    except REFUSALS as error:
        if len(items) == 1:
            return [error]
    middle = len(items) // 2
    first = await refusable_async(call, items[:middle])
    return first + await refusable_async(call, items[middle:])
