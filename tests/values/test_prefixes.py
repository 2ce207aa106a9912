"""The cache of prefixes against a plain dictionary of what each token's state should be."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.values.packing import Tokens
from qstar_core.values.prefixes import PrefixCache, Segment

LAYERS, HEADS, DIM = 2, 1, 3
TOKEN_BYTES = LAYERS * 2 * HEADS * DIM * 8
TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)


def states(tokens: Tokens, start: int = 0) -> torch.Tensor:
    """Made-up keys and values: a function of all tokens up to the one they belong to."""
    columns = [float(hash(tokens[: n + 1]) % 10_007) for n in range(start, len(tokens))]
    row = torch.tensor(columns, dtype=torch.float64)
    return row[None, None, None, :, None].expand(LAYERS, 2, HEADS, -1, DIM).clone()


def put(cache: PrefixCache, tokens: Tokens, start: int = 0) -> None:
    cache.insert(tokens, start, lambda place: states(tokens, place))


def held(cache: PrefixCache, tokens: Tokens) -> int:
    """How much of a sequence the cache holds; what it gives must be right."""
    parts = cache.match(tokens)
    size = sum(part.shape[-2] for part in parts)
    if parts:
        assert torch.equal(torch.cat(parts, dim=-2), states(tokens)[..., :size, :])
    return size


def check(cache: PrefixCache) -> None:
    """Sizes add up, and nothing is younger than what it continues."""
    found: list[Segment] = []
    todo = [cache.root]
    while todo:
        segment = todo.pop()
        for first, child in segment.children.items():
            assert child.parent is segment and child.tokens[0] == first
            todo.append(child)
            found.append(child)
    order = list(cache._recent)
    assert set(map(id, found)) == set(map(id, order))
    for segment in found:
        assert segment.states is not None and segment.states.shape[-2] == len(segment.tokens)
        if segment.parent is not cache.root:
            assert order.index(segment) < order.index(segment.parent)  # type: ignore[arg-type]
    assert cache.used_bytes == sum(segment.bytes for segment in found) <= cache.max_bytes


@settings(max_examples=200)
@given(
    calls=st.lists(st.tuples(TOKENS, st.booleans()), max_size=30),
    capacity=st.integers(0, 20),
)
def test_whatever_is_held_is_right_and_within_the_cap(
    calls: list[tuple[Tokens, bool]], capacity: int
) -> None:
    cache = PrefixCache(capacity * TOKEN_BYTES)
    for tokens, insert in calls:
        if insert:
            put(cache, tokens, held(cache, tokens[:-1]))
        else:
            held(cache, tokens)
        check(cache)


@given(calls=st.lists(TOKENS, min_size=1, max_size=20))
def test_with_room_for_all_nothing_is_forgotten_and_shared_beginnings_are_held_once(
    calls: list[Tokens],
) -> None:
    cache = PrefixCache(1 << 20)
    for tokens in calls:
        put(cache, tokens, held(cache, tokens[:-1]))
    assert all(held(cache, tokens) == len(tokens) for tokens in calls)
    distinct = {tokens[: n + 1] for tokens in calls for n in range(len(tokens))}
    assert cache.used_bytes == len(distinct) * TOKEN_BYTES


def test_what_was_not_used_for_longest_goes_first_and_ends_before_beginnings() -> None:
    cache = PrefixCache(6 * TOKEN_BYTES)
    put(cache, (1, 2, 3, 4))
    put(cache, (1, 2, 5))
    assert held(cache, (1, 2, 3, 4)) == 4  # used again: 5 is the oldest now
    put(cache, (7, 8))
    assert held(cache, (1, 2, 5)) == 2
    assert held(cache, (1, 2, 3, 4)) == 4
    assert held(cache, (7, 8)) == 2
    cache.clear()
    assert held(cache, (7, 8)) == 0 and cache.used_bytes == 0


def test_a_beginning_that_is_gone_is_not_continued() -> None:
    cache = PrefixCache(3 * TOKEN_BYTES)
    put(cache, (1, 2))
    put(cache, (3, 4))  # pushes it out
    put(cache, (1, 2, 9), start=2)
    assert held(cache, (1, 2, 9)) == 0
    assert held(cache, (3, 4)) == 2


def test_what_is_larger_than_the_cap_pushes_nothing_out() -> None:
    cache = PrefixCache(3 * TOKEN_BYTES)
    put(cache, (1, 2))
    put(cache, (5, 6, 7, 8, 9))
    assert held(cache, (1, 2)) == 2
    assert held(cache, (5, 6)) == 0
