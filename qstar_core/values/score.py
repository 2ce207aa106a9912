"""Scoring actions with a QVM checkpoint, many at a time.

The actions of one state, and states of one problem, share a beginning: it is computed once, see
`qstar_core.values.packing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForTokenClassification

from qstar_core.policies.checkpoint import fingerprint
from qstar_core.policies.transformers import DTYPES, alike, pick_device
from qstar_core.values.model import load_tokenizer
from qstar_core.values.packing import Pack, Packed, collate, pack

DECIMALS = 6  # rounding hides the last bits, which depend on the batch's shape


class TransformersValue:
    """A QVM from a local folder.

    In float64 a score differs by about 1e-15 between differently shaped batches; rounded to six
    decimals it is the same number in all of them.
    """

    def __init__(self, folder: Path, dtype: str, device: str, batch_size: int) -> None:
        self.device = pick_device(device)
        self.fingerprint = fingerprint(folder, dtype)
        self.batch_size = batch_size
        self.tokenizer = load_tokenizer(folder)
        self.model = AutoModelForTokenClassification.from_pretrained(
            folder, dtype=DTYPES[dtype], use_safetensors=True
        ).to(self.device)
        self.context = int(self.model.config.max_position_embeddings)
        self.model.eval()
        self.model.requires_grad_(False)

    @torch.inference_mode()
    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        """Q(s, a) of each text; see `qstar_core.values.ValueModel.score`."""
        if not texts:
            return []
        asked = list(zip(texts, ended, strict=True))
        distinct = list(dict.fromkeys(asked))
        encoded = self.tokenizer([text for text, _ in distinct])["input_ids"]
        eos = self.tokenizer.eos_token_id
        ids = [[*e, eos] if end else e for e, (_, end) in zip(encoded, distinct, strict=True)]
        packs = pack([tuple(row) for row in ids], self.context)
        packs.sort(key=lambda one: one.tokens)
        values = [0.0] * len(ids)
        for batch in in_batches(packs, self.batch_size):
            packed = collate(batch)
            for place, value in zip(packed.members, self._forward(packed), strict=True):
                values[place] = value
        known = dict(zip(distinct, values, strict=True))
        return [known[key] for key in asked]

    def _forward(self, packed: Packed) -> list[float]:
        dtype = self.model.dtype
        hidden = torch.full(packed.mask.shape, torch.finfo(dtype).min, dtype=dtype)
        mask = hidden.masked_fill_(packed.mask, 0.0).to(self.device)
        logits = self.model(
            input_ids=packed.ids.to(self.device),
            position_ids=packed.positions.to(self.device),
            attention_mask=mask,
            use_cache=False,
        ).logits[..., 0]
        picked = logits[packed.rows.to(self.device), packed.ends.to(self.device)]
        return [round(q, DECIMALS) for q in torch.sigmoid(picked.double()).tolist()]


def in_batches(packs: Sequence[Pack], sequences: int) -> Iterator[list[Pack]]:
    """Batches of packs, shortest first, with at most so many sequences in each, one pack at least.

    A pack much longer than the first of a batch starts a new one: the others would be padded.
    """
    batch: list[Pack] = []
    size = 0
    for one in packs:
        full = size + len(one.members) > sequences
        if batch and (full or not alike(batch[0].tokens, one.tokens)):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += len(one.members)
    if batch:
        yield batch
