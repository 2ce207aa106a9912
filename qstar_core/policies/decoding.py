"""Prefill and decoding of a batch of samples, in one of two layouts.

*Apart*: every sample is a row with keys and values of its own, the prompt's copied to each.
*Together*: the samples of one prompt are one row. Each step appends one token of every sample to
it, so the keys behind a prompt of two samples are a1 b1 a2 b2 ..., and a mask lets each sample see
the prompt and its own tokens. The prompt's keys are stored and read once instead of once per
sample, and attention has one matrix product per prompt where it had one per sample: on a CPU that
is most of its time. The price is products with the masked keys of the other samples, so it pays
while the prompt is long beside what was generated; from there on the samples go apart.

Both compute the same sums in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from qstar_core.policies.kv import RoomyLayer, roomy_cache

ATTENTION = "qstar_together"
FULL_SHARE = 0.6  # of the places of a layout that samples must take up, or it is left
MASKED_PER_PROMPT = 2.0  # keys of other samples for each key of a prompt, up to which it pays
WORTH_TOKENS = 4  # to generate, or samples do not start together


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Plain matrix products for the steps of samples that are together, else that of torch.

    Torch's kernel for a CPU takes up to four times as long for few queries under a mask.

    Args:
        module: the attention layer.
        query: [rows, heads, new tokens, size of a head].
        key: [rows, heads of keys, tokens, size of a head].
        value: likewise.
        attention_mask: added to the scores if it is floating point, as `Decoding` makes it.
        scaling: factor on the scores.
        kwargs: as transformers passes them.

    Returns:
        [rows, new tokens, heads, size of a head], and no weights.
    """
    ours = attention_mask is not None and attention_mask.is_floating_point()
    if attention_mask is None or scaling is None or not ours or query.shape[1] != key.shape[1]:
        found, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return found, None
    scores = torch.matmul(query * scaling, key.transpose(2, 3)) + attention_mask
    mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
    return mixed.transpose(1, 2).contiguous(), None


def use_attention(model: Any) -> None:
    """Has a model use `attention`, where it uses that of torch on a CPU, for all tokens."""
    config = model.config
    everything = getattr(config, "sliding_window", None) is None
    if everything and model.device.type == "cpu" and config._attn_implementation == "sdpa":
        AttentionInterface.register(ATTENTION, attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        model.set_attn_implementation(ATTENTION)


class Decoding:
    """A batch of samples of some prompts, from the prompts to their last tokens.

    Attributes:
        logits: of the next token, [samples, vocabulary].
    """

    def __init__(self, model: Any, prompts: Sequence[tuple[int, ...]], together: bool) -> None:
        """Runs the distinct prompts once.

        Args:
            model: causal LM with attention to all tokens.
            prompts: token ids of each sample's prompt.
            together: whether samples may be laid out together; needs `use_attention`.
        """
        self.model = model
        self.device = model.device
        self.cache = roomy_cache()
        distinct = list(dict.fromkeys(prompts))
        lengths = torch.tensor([len(prompt) for prompt in distinct])
        self.width = int(lengths.max())
        ids = torch.zeros(len(distinct), self.width, dtype=torch.long)
        for k, prompt in enumerate(distinct):
            ids[k, self.width - len(prompt) :] = torch.tensor(prompt)
        real = torch.arange(self.width) >= self.width - lengths[:, None]
        self.padded = not bool(real.all())
        self.real = real.to(self.device)
        """Which columns are no padding, [rows, width]."""
        output = model(
            input_ids=ids.to(self.device),
            attention_mask=self.real.long() if self.padded else None,
            position_ids=(self.real.long().cumsum(1) - 1).clamp(min=0),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        place = {prompt: k for k, prompt in enumerate(distinct)}
        self.owner = torch.tensor([place[prompt] for prompt in prompts], device=self.device)
        """Row of each sample."""
        self.slot = _numbered(self.owner)
        """Place of each sample among those of its row."""
        self.slots = 1 + int(self.slot.max())
        self.steps = 0
        """Tokens behind the prompts."""
        self.logits = output.logits[self.owner, -1]
        self.together = together and self._pays(WORTH_TOKENS) and self._full()
        if not self.together:
            self._take_apart()

    def _pays(self, steps: int) -> bool:
        return self.slots > 1 and (self.slots - 1) * steps <= MASKED_PER_PROMPT * self.width

    def _full(self) -> bool:
        return len(self.owner) >= FULL_SHARE * self.slots * len(self.real)

    def step(self, tokens: torch.Tensor) -> None:
        """Decodes one token of each sample, [samples]; then `logits` are of the next."""
        if self.together and not self._pays(self.steps + 1):
            self._take_apart()
        rows, slots = len(self.real), self.slots if self.together else 1
        place = self.owner * slots + self.slot
        ids = tokens.new_zeros(rows * slots)
        ids[place] = tokens
        positions = self.real.sum(1, keepdim=True) + self.steps
        output = self.model(
            input_ids=ids.view(rows, slots),
            attention_mask=self._mask(),
            position_ids=positions.expand(rows, slots),
            past_key_values=self.cache,
            use_cache=True,
        )
        self.steps += 1
        logits = output.logits.flatten(0, 1)
        self.logits = logits[place] if self.together else logits

    def _mask(self) -> torch.Tensor | None:
        """Of the next step; together it is added to the scores, [rows or 1, 1, slots, keys]."""
        if not self.together:
            if not self.padded:
                return None
            behind = self.real.new_ones(len(self.real), self.steps + 1)
            return torch.cat([self.real, behind], dim=1).long()
        own = torch.eye(self.slots, dtype=torch.bool, device=self.device)
        own = own.repeat(1, self.steps + 1)[None]
        seen = self.real[:, None] if self.padded else self.real[:1, None]
        seen = seen.expand(-1, self.slots, -1)
        seen = torch.cat([seen, own.expand(len(seen), -1, -1)], dim=2)
        mask = torch.zeros(seen.shape, dtype=self.model.dtype, device=self.device)
        return mask.masked_fill_(~seen, float("-inf"))[:, None]

    def keep(self, samples: torch.Tensor) -> None:
        """Goes on with these samples only, by their index."""
        self.logits = self.logits[samples]
        self.owner, self.slot = self.owner[samples], self.slot[samples]
        rows, self.owner = torch.unique(self.owner, return_inverse=True)
        if len(rows) < len(self.real):
            self.cache.batch_select_indices(rows)
            self.real = self.real[rows]
        if self.together and not self._full():
            self._take_apart()

    def _take_apart(self) -> None:
        """Gives every sample keys and values of its own."""
        slots = self.slots if self.together else 1
        behind = torch.arange(self.steps, device=self.device) * slots + self.width
        head = torch.arange(self.width, device=self.device).expand(len(self.owner), -1)
        columns = torch.cat([head, behind + self.slot[:, None]], dim=1)
        for layer in self.cache.layers:
            assert isinstance(layer, RoomyLayer)
            layer.gather(self.owner, columns)
        self.real = self.real[self.owner]
        self.owner = torch.arange(len(self.owner), device=self.device)
        self.slot = torch.zeros_like(self.owner)
        self.together = False


def _numbered(owner: torch.Tensor) -> torch.Tensor:
    """For each entry, how many equal ones stand before it."""
    order = torch.argsort(owner, stable=True)
    counts = torch.bincount(owner)
    starts = counts.cumsum(0) - counts
    numbers = torch.empty_like(owner)
    numbers[order] = torch.arange(len(owner), device=owner.device) - starts[owner[order]]
    return numbers
