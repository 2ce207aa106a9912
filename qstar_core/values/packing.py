"""Token sequences that share a beginning, packed so that it is computed once.

The children of a state differ in their last step alone. A pack holds their common prefix and then
the rest of each, with the positions going on from the prefix each time and a mask that lets a rest
see the prefix and itself (a block-causal mask)::

    prefix | rest 1 | rest 2          rest 2 sees:  prefix and rest 2

Every token then has the keys it would have in its own sequence, so the values are the same up to
rounding. For K children of a prefix of p tokens with c tokens each, p + K c tokens are computed
and not K (p + c).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

MIN_SHARED = 0.3  # of a sequence's tokens; below it a sequence starts a pack of its own

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """Sequences with a common prefix.

    Attributes:
        prefix: tokens that all of them start with.
        rests: what each has after it, at least one token.
        members: places of the sequences among those that were packed.
    """

    prefix: Tokens
    rests: tuple[Tokens, ...]
    members: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens to compute."""
        return len(self.prefix) + sum(map(len, self.rests))


def pack(sequences: Sequence[Tokens], max_tokens: int) -> list[Pack]:
    """Groups sequences by their beginnings.

    Args:
        sequences: distinct, none empty.
        max_tokens: of one pack; a longer sequence has a pack of its own.
    """
    order = sorted(range(len(sequences)), key=lambda k: sequences[k])
    packs: list[Pack] = []
    group: list[int] = []
    shared = 0  # tokens that all sequences of the group start with
    for place in order:
        tokens = sequences[place]
        if group:
            common = min(shared, _common(sequences[group[0]], tokens), len(tokens) - 1)
            size = common + sum(len(sequences[k]) - common for k in group) + len(tokens) - common
            longest = max(len(tokens), *(len(sequences[k]) for k in group))
            if common >= MIN_SHARED * longest and size <= max_tokens:
                group.append(place)
                shared = common
                continue
            packs.append(_close(sequences, group, shared))
        group, shared = [place], len(tokens) - 1
    if group:
        packs.append(_close(sequences, group, shared))
    return packs


def _common(a: Tokens, b: Tokens) -> int:
    for k, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return k
    return min(len(a), len(b))


def _close(sequences: Sequence[Tokens], group: Sequence[int], shared: int) -> Pack:
    if len(group) == 1:
        shared = 0  # an ordinary causal sequence
    rests = tuple(sequences[k][shared:] for k in group)
    return Pack(sequences[group[0]][:shared], rests, tuple(group))


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch of packs as tensors.

    Attributes:
        ids: [packs, longest], padded on the right.
        positions: [packs, longest], of the tokens in their own sequences.
        mask: [packs, 1, longest, longest], true where a token (row) sees another (column).
        rows: pack of each sequence.
        ends: place of its last token in the pack.
        members: its place among those that were packed.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    rows: torch.Tensor
    ends: torch.Tensor
    members: list[int]


def collate(packs: Sequence[Pack]) -> Packed:
    """Puts packs together as one batch."""
    longest = max(p.tokens for p in packs)
    ids = torch.zeros(len(packs), longest, dtype=torch.long)
    positions = torch.zeros(len(packs), longest, dtype=torch.long)
    segments = torch.full((len(packs), longest), -1)  # 0 the prefix, 1.. the rests, -1 padding
    rows, ends, members = [], [], []
    for row, one in enumerate(packs):
        start = len(one.prefix)
        ids[row, :start] = torch.tensor(one.prefix, dtype=torch.long)
        positions[row, :start] = torch.arange(start)
        segments[row, :start] = 0
        for number, (rest, member) in enumerate(zip(one.rests, one.members, strict=True), start=1):
            stop = start + len(rest)
            ids[row, start:stop] = torch.tensor(rest)
            positions[row, start:stop] = torch.arange(len(rest)) + len(one.prefix)
            segments[row, start:stop] = number
            rows.append(row)
            ends.append(stop - 1)
            members.append(member)
            start = stop
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    sees = (segments[:, None, :] == segments[:, :, None]) | (segments[:, None, :] == 0)
    mask = (sees & causal)[:, None]
    return Packed(ids, positions, mask, torch.tensor(rows), torch.tensor(ends), members)
