"""Keys and values of token prefixes, kept from call to call within a memory cap.

When a child of a state is expanded, the beginning of its own children is the state's beginning and
one step more, and all of that has been computed before. The cache is a tree of segments (a radix
tree): each holds the tokens between two branchings and their keys and values in all layers, so a
prefix that many states share is held once. What was not used for longest goes first; a segment is
never older than those that continue it, so only ends of branches go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from qstar_core.values.packing import Tokens, common


@dataclass(slots=True, eq=False)
class Segment:
    """Tokens that follow one another in everything that is held.

    Attributes:
        tokens: at least one, except in the root.
        states: keys and values, [layers, 2, heads, tokens, dim]; None in the root.
        parent: what comes before; None in the root.
        children: what may follow, by first token.
    """

    tokens: Tokens
    states: torch.Tensor | None
    parent: Segment | None
    children: dict[int, Segment] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Memory of the keys and values."""
        return 0 if self.states is None else self.states.numel() * self.states.element_size()


class PrefixCache:
    """Least recently used segments within a cap.

    Args:
        max_bytes: of all keys and values that are held.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self.root = Segment((), None, None)
        self.used_bytes = 0
        self._recent: OrderedDict[Segment, None] = OrderedDict()  # longest unused first

    def match(self, tokens: Tokens) -> list[torch.Tensor]:
        """Keys and values of the longest beginning of some tokens that is held.

        Returns:
            Parts that follow one another, each [layers, 2, heads, part, dim]; none if nothing fits.
        """
        segment, _, inside = self._walk(tokens)
        self._touch(segment)
        parts = [] if inside == 0 else [_states(segment)[..., :inside, :]]
        above = segment.parent
        while above is not None and above.states is not None:
            parts.append(above.states)
            above = above.parent
        return parts[::-1]

    def insert(self, tokens: Tokens, start: int, states: Callable[[int], torch.Tensor]) -> None:
        """Takes the keys and values of some tokens, as far as they are not held.

        Args:
            tokens: from the first one on.
            start: from where on keys and values can be had. If what comes before is no longer
                held, nothing is taken.
            states: called with a place from ``start`` on; the keys and values from there to the
                end, [layers, 2, heads, tokens, dim], a tensor of their own.
        """
        segment, at, inside = self._walk(tokens)
        if at < start or at == len(tokens):
            self._touch(segment)
            return
        if segment.parent is not None and inside < len(segment.tokens):
            segment = self._split(segment, inside)
        new = Segment(tokens[at:], states(at), segment)
        if new.bytes > self.max_bytes:
            return
        segment.children[tokens[at]] = new
        self.used_bytes += new.bytes
        self._touch(new)
        while self.used_bytes > self.max_bytes:
            self._drop()

    def _walk(self, tokens: Tokens) -> tuple[Segment, int, int]:
        """Where a beginning ends: the segment, tokens walked in all, and inside of the segment."""
        segment, at, inside = self.root, 0, 0
        while at < len(tokens) and inside == len(segment.tokens):
            below = segment.children.get(tokens[at])
            if below is None:
                break
            segment, inside = below, common(below.tokens, tokens[at : at + len(below.tokens)])
            at += inside
        return segment, at, inside

    def _touch(self, segment: Segment) -> None:
        """Notes that a segment and those before it are in use, the first one last."""
        at: Segment | None = segment
        while at is not None and at.parent is not None:
            self._recent[at] = None
            self._recent.move_to_end(at)
            at = at.parent

    def _split(self, segment: Segment, size: int) -> Segment:
        """Cuts a segment in two; returns the upper one, with the first ``size`` tokens."""
        states, parent = _states(segment), segment.parent
        if parent is None:
            raise ValueError("the root has no tokens")
        upper = Segment(segment.tokens[:size], states[..., :size, :].clone(), parent)
        parent.children[upper.tokens[0]] = upper
        upper.children[segment.tokens[size]] = segment
        segment.parent, segment.tokens = upper, segment.tokens[size:]
        segment.states = states[..., size:, :].clone()
        self._touch(upper)
        return upper

    def _drop(self) -> None:
        """Gives up the segment that was not used for longest, which is the end of a branch."""
        segment, _ = self._recent.popitem(last=False)
        if segment.parent is not None:
            del segment.parent.children[segment.tokens[0]]
        self.used_bytes -= segment.bytes


def _states(segment: Segment) -> torch.Tensor:
    if segment.states is None:
        raise ValueError("the root has no keys and values")
    return segment.states
