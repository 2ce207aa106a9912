"""Sequences of different lengths in batches of which little is padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

SLACK_TOKENS = 64  # by which sequences of one batch may differ in length in any case


def alike(shortest: int, longest: int) -> bool:
    """Whether sequences of these lengths may be padded to one; beyond, padding is most of it."""
    return longest <= 2 * shortest + SLACK_TOKENS


def in_batches(
    items: Sequence[T],
    tokens: Callable[[T], int],
    most: int,
    size: Callable[[T], int] = lambda item: 1,
    fits: Callable[[int, T], bool] = lambda count, item: True,
) -> Iterator[list[T]]:
    """Batches of one item at least; an item much longer than the first starts a new batch.

    Args:
        items: in the order in which they are to come, the shortest first.
        tokens: length of an item.
        most: the sizes in one batch add up to at most this.
        size: of an item.
        fits: whether an item may stand in a batch of ``count`` items, itself included.
    """
    batch: list[T] = []
    total = 0
    for item in items:
        full = total + size(item) > most or not fits(len(batch) + 1, item)
        if batch and (full or not alike(tokens(batch[0]), tokens(item))):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size(item)
    if batch:
        yield batch
