"""Token sequences that share beginnings, packed so that each distinct token is computed once.

The children of a state differ in their last step alone; the steps of one trajectory, and the
states of one search, begin alike too. A pack is the prefix tree of some sequences, written out
branch after branch, with the positions that the tokens have in their own sequences and a mask that
lets a token see its ancestors in the tree::

    prefix | rest 1 | rest 2          rest 2 sees:  prefix and rest 2

Every token then has the keys it would have in its own sequence, so the values are the same up to
rounding. For K children of a prefix of p tokens with c tokens each, p + K c tokens are computed
and not K (p + c). Where keys and values of a beginning are at hand (`qstar_core.values.prefixes`)
only what follows it is packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

MIN_SHARED = 0.3  # of a sequence's tokens; below it a sequence starts a pack of its own

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """Sequences that are computed together.

    Attributes:
        sequences: in sorted order; all begin with the same ``held`` tokens and are longer.
        members: their places among those that were packed.
        held: tokens at the beginning whose keys and values are at hand.
        tokens: tokens to compute, each shared one counted once.
    """

    sequences: tuple[Tokens, ...]
    members: tuple[int, ...]
    held: int
    tokens: int

    @property
    def past(self) -> Tokens:
        """The tokens at hand."""
        return self.sequences[0][: self.held]


def pack(
    sequences: Sequence[Tokens], max_tokens: int, held: Sequence[int] | None = None
) -> list[Pack]:
    """Groups sequences by their beginnings.

    Args:
        sequences: distinct, none empty.
        max_tokens: to compute in one pack; a longer sequence has a pack of its own.
        held: of each sequence, how many tokens at its beginning are at hand, fewer than it has;
            None is 0 for all.
    """
    at_hand = [0] * len(sequences) if held is None else held
    order = sorted(range(len(sequences)), key=lambda k: (at_hand[k], sequences[k]))
    packs: list[Pack] = []
    group: list[int] = []
    size = 0
    for place in order:
        tokens, start = sequences[place], at_hand[place]
        if group:
            shared = common(sequences[group[-1]], tokens)
            alike = start == at_hand[group[-1]] and shared >= start
            worth = start > 0 or shared >= MIN_SHARED * len(tokens)
            if alike and worth and size + len(tokens) - shared <= max_tokens:
                group.append(place)
                size += len(tokens) - shared
                continue
            packs.append(_close(sequences, group, at_hand[group[0]], size))
        group, size = [place], len(tokens) - start
    if group:
        packs.append(_close(sequences, group, at_hand[group[0]], size))
    return packs


def common(a: Tokens, b: Tokens) -> int:
    """How many tokens two sequences begin with alike."""
    shortest = min(len(a), len(b))
    if a[:shortest] == b[:shortest]:
        return shortest
    return next(k for k in range(shortest) if a[k] != b[k])


def _close(sequences: Sequence[Tokens], group: Sequence[int], held: int, size: int) -> Pack:
    return Pack(tuple(sequences[k] for k in group), tuple(group), held, size)


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch of packs as tensors.

    Attributes:
        ids: [packs, longest], padded on the right.
        positions: [packs, longest], of the tokens in their own sequences.
        mask: [packs, 1, longest, past + longest], true where a token (row) sees another (column);
            the first ``past`` columns are the tokens at hand, padded on the right.
        past: the most tokens that a pack has at hand.
        rows: pack of each sequence.
        ends: place of its last token in the pack.
        members: its place among those that were packed.
        paths: the places of its tokens in the pack, from the first that is not at hand.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    past: int
    rows: torch.Tensor
    ends: torch.Tensor
    members: list[int]
    paths: list[list[int]]


def collate(packs: Sequence[Pack]) -> Packed:
    """Puts packs together as one batch."""
    longest, past = max(p.tokens for p in packs), max(p.held for p in packs)
    ids = np.zeros((len(packs), longest), dtype=np.int64)
    positions = np.zeros_like(ids)
    mask = np.zeros((len(packs), longest, past + longest), dtype=np.bool_)
    mask[:, np.arange(longest), past + np.arange(longest)] = True  # padding sees itself: no 0 / 0
    causal = np.tril(np.ones((longest, longest), dtype=np.bool_))
    rows, members, paths = [], [], []
    for row, one in enumerate(packs):
        mask[row, : one.tokens, : one.held] = True
        before, start = one.past, 0
        path: list[int] = []
        for tokens, member in zip(one.sequences, one.members, strict=True):
            shared = common(before, tokens)
            stop = start + len(tokens) - shared
            ids[row, start:stop] = tokens[shared:]
            positions[row, start:stop] = np.arange(shared, len(tokens))
            path = path[: shared - one.held]
            sees = mask[row, start:stop]  # of the new tokens: their ancestors, and each other
            sees[:, past + np.array(path, dtype=np.intp)] = True
            sees[:, past + start : past + stop] = causal[: len(sees), : len(sees)]
            path = [*path, *range(start, stop)]
            rows.append(row)
            members.append(member)
            paths.append(path)
            before, start = tokens, stop
    return Packed(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        mask=torch.from_numpy(mask)[:, None],
        past=past,
        rows=torch.tensor(rows),
        ends=torch.tensor([path[-1] for path in paths]),
        members=members,
        paths=paths,
    )
