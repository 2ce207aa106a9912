"""Values of token sequences by a token-classification model, many at a time.

Sequences share beginnings. What several of one call have in common is computed once
(`qstar_core.values.packing`); what later calls will begin with is kept where that is worth its
overhead (`qstar_core.values.prefixes`). docs/adr/0008 has what both bring.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from qstar_core.policies import batching
from qstar_core.values.packing import Pack, Packed, Tokens, collate, common, pack
from qstar_core.values.prefixes import PrefixCache

PACK_TOKENS = 1024  # of one pack: attention inside of it takes the square
CACHED_FROM = 64  # tokens of a sequence from which on the cache is used


class PrefixScorer:
    """Scores sequences with a model.

    In float64 a value differs by about 1e-15 between differently shaped batches, with and without
    cached prefixes.

    Args:
        model: causal, with one label per token.
        batch_size: sequences in one batch.
        cache_mb: MiB of keys and values kept for later calls; a batch takes up to as much again.
            0 keeps none.
        final: the token that ends a text; nothing that ends with it is anybody's beginning.

    Attributes:
        shares: whether beginnings are shared. Not where layers see less than all tokens before
            (windows) or more than a token's ancestors (recurrent states), and not where attention
            is another than torch's SDPA: eager attention adds its mask to the scores, so one of
            truth values is wrong there. A sequence then has a row of its own.
        cache: the keys and values that are kept.
        cached_from: tokens of a sequence from which on the cache is used.
    """

    def __init__(
        self, model: PreTrainedModel, batch_size: int, cache_mb: int, final: int | None = None
    ) -> None:
        self.model: Any = model
        self.device = model.device
        self.batch_size = batch_size
        self.final = final
        layers = DynamicCache(config=model.config).layers
        by_sdpa = model.config._attn_implementation == "sdpa"
        self.shares = by_sdpa and all(type(layer) is DynamicLayer for layer in layers)
        self.cache = PrefixCache(cache_mb << 20)
        self.cached_from = CACHED_FROM if cache_mb and self.shares else sys.maxsize

    @torch.inference_mode()
    def values(self, ids: Sequence[Tokens]) -> list[float]:
        """The value of each sequence: the sigmoid of the logit at its last token, in [0, 1].

        Args:
            ids: distinct sequences, none empty.
        """
        values = [0.0] * len(ids)
        short = [k for k, tokens in enumerate(ids) if len(tokens) < self.cached_from]
        long = [k for k, tokens in enumerate(ids) if len(tokens) >= self.cached_from]
        self._round(ids, short, values, keep=False)
        waiting = self._round(ids, long, values, keep=True)
        self._round(ids, waiting, values, keep=True, wait=False)
        return values

    def _round(
        self,
        ids: Sequence[Tokens],
        places: Sequence[int],
        values: list[float],
        *,
        keep: bool,
        wait: bool = True,
    ) -> list[int]:
        """Computes the values of some sequences; returns the places of those put off.

        Sequences are put off that share a long beginning with others of this round which do not go
        into the same pack: after the round it is in the cache.
        """
        sequences = [ids[k] for k in places]
        parts = [self.cache.match(tokens[:-1]) if keep else [] for tokens in sequences]
        held = [sum(part.shape[-2] for part in found) for found in parts]
        most = PACK_TOKENS if self.shares else 0
        packs = pack(sequences, most, held)
        later: list[Pack] = []
        if keep and wait:
            packs, later = first_of_kin(packs, self.cached_from)
        packs.sort(key=lambda one: (one.held, one.tokens))
        past_tokens = self._past_tokens(parts)
        for batch in in_batches(packs, self.batch_size, past_tokens):
            packed = collate(batch)
            past = self._past(batch, parts, packed.past) if keep else None
            found = self._forward(packed, past)
            for member, value in zip(packed.members, found, strict=True):
                values[places[member]] = value
            if past is not None:
                self._keep(packed, past, sequences, held)
        return [places[member] for one in later for member in one.members]

    def _forward(self, packed: Packed, past: DynamicCache | None) -> list[float]:
        """The values of a batch; keys and values are added to ``past``."""
        alone = len(packed.members) == len(packed.ids) and not packed.past
        mask = packed.mask
        if not self.shares:  # [sequences, longest], 0 where there is padding
            mask = (torch.arange(packed.ids.shape[1]) <= packed.ends[:, None]).long()
        unmasked = alone and self.shares  # a causal model does not see padding on the right
        logits = self.model(
            input_ids=packed.ids.to(self.device),
            position_ids=None if alone else packed.positions.to(self.device),
            attention_mask=None if unmasked else mask.to(self.device),
            past_key_values=past,
            use_cache=past is not None,
        ).logits[..., 0]
        picked = logits[packed.rows.to(self.device), packed.ends.to(self.device)]
        found: list[float] = torch.sigmoid(picked.double()).tolist()
        return found

    def _past_tokens(self, parts: Sequence[Sequence[torch.Tensor]]) -> int:
        """Tokens at hand that one batch may take up, padding included: the cap in tokens."""
        for part in (part for found in parts for part in found):
            token_bytes = part.numel() // part.shape[-2] * part.element_size()
            return max(1, self.cache.max_bytes // token_bytes)
        return sys.maxsize

    def _past(
        self, batch: Sequence[Pack], parts: Sequence[Sequence[torch.Tensor]], width: int
    ) -> DynamicCache:
        """The keys and values at hand of each pack, padded on the right."""
        if not width:
            return DynamicCache()
        found = [parts[one.members[0]] for one in batch]
        like = next(part for row in found for part in row)
        layers, two, heads, _, dim = like.shape
        room = like.new_zeros(layers, two, len(batch), heads, width, dim)
        for row, row_parts in enumerate(found):
            start = 0
            for part in row_parts:
                room[:, :, row, :, start : start + part.shape[-2]] = part
                start += part.shape[-2]
        return DynamicCache([(keys, values) for keys, values in room])

    def _keep(
        self,
        packed: Packed,
        past: DynamicCache,
        sequences: Sequence[Tokens],
        held: Sequence[int],
    ) -> None:
        """Gives the cache what was computed; what has ended is nobody's beginning."""
        for row, member, path in zip(
            packed.rows.tolist(), packed.members, packed.paths, strict=True
        ):
            tokens, start = sequences[member], held[member]
            if tokens[-1] != self.final:
                at = [packed.past + place for place in path]
                self.cache.insert(tokens, start, partial(states, past, row, at, start))


def states(past: Any, row: int, at: Sequence[int], start: int, place: int) -> torch.Tensor:
    """Keys and values of a sequence from a place on, [layers, 2, heads, tokens, dim].

    Args:
        past: cache of the model after a forward pass.
        row: of the batch.
        at: where in the cache the tokens of the sequence are, from ``start`` on.
        start: the first one that was computed.
        place: the first one that is wanted.
    """
    picks = torch.tensor(at[place - start :], device=past.layers[0].keys.device)
    pairs = ((layer.keys[row], layer.values[row]) for layer in past.layers)
    return torch.stack([torch.stack((k[:, picks], v[:, picks])) for k, v in pairs])


def first_of_kin(packs: Sequence[Pack], tokens: int) -> tuple[list[Pack], list[Pack]]:
    """Splits packs into those to compute now and those to put off.

    Args:
        packs: in the order of `qstar_core.values.packing.pack`.
        tokens: how many, shared with one that is computed now and not at hand, put a pack off.
    """
    now: list[Pack] = []
    later: list[Pack] = []
    for one in packs:
        shared = common(now[-1].sequences[-1], one.sequences[0]) if now else 0
        (later if shared - one.held >= tokens else now).append(one)
    return now, later


def in_batches(
    packs: Sequence[Pack], sequences: int, past_tokens: int = sys.maxsize
) -> Iterator[list[Pack]]:
    """Batches of packs, one pack at least; one much longer than the first starts a new batch.

    Args:
        packs: sorted by the number of tokens at hand, then by that to compute.
        sequences: in one batch.
        past_tokens: at hand in one batch, each pack counted as long as the longest.
    """
    return batching.in_batches(
        packs,
        tokens=lambda one: one.tokens,
        most=sequences,
        size=lambda one: len(one.members),
        fits=lambda count, one: count * one.held <= past_tokens,
    )
