"""A cache of keys and values that appends in place.

The dynamic cache of transformers copies all it holds for each new token. For hundreds of samples of
a small model in one batch that takes as long as the model itself.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

ROOM_TOKENS = 32  # kept free behind the last token when a layer is copied


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer, [samples, heads, tokens, size of a head], and free room."""

    _rooms: tuple[torch.Tensor, ...] = ()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends new tokens; returns the keys and the values of all, valid until the next call."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[2]
        if not self._rooms or self._rooms[0].shape[2] < end:
            rooms = tuple(_room(new, end + ROOM_TOKENS) for new in (key_states, value_states))
            for room, held in zip(rooms, (self.keys, self.values), strict=True):
                if start and held is not None:
                    room[:, :, :start] = held
            self._rooms = rooms
        for room, new in zip(self._rooms, (key_states, value_states), strict=True):
            room[:, :, start:end] = new
        keys, values = (room[:, :, :end] for room in self._rooms)
        self.keys, self.values = keys, values
        return keys, values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps these samples; one may be kept more than once."""
        super().batch_select_indices(indices)
        self._rooms = ()

    def gather(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        """Makes new samples of tokens of these.

        Args:
            rows: from which sample each new one is, [new samples].
            columns: which of its tokens, in their order, [new samples, tokens].
        """
        if self.keys is None or self.values is None:
            return
        found = (
            held.transpose(1, 2)[rows[:, None], columns].transpose(1, 2)
            for held in (self.keys, self.values)
        )
        self.keys, self.values = found
        self._rooms = ()


def _room(like: torch.Tensor, tokens: int) -> torch.Tensor:
    samples, heads, _, size = like.shape
    return like.new_empty(samples, heads, tokens, size)


def roomy_cache() -> Cache:
    """An empty cache for a model whose layers attend to all tokens."""
    return Cache(layer_class_to_replicate=RoomyLayer)
