"""Scoring actions with a QVM checkpoint, many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForTokenClassification

from qstar_core.policies.checkpoint import fingerprint
from qstar_core.policies.transformers import DTYPES, pick_device
from qstar_core.values.model import load_tokenizer

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
        order = sorted(range(len(ids)), key=lambda k: len(ids[k]))
        values = [0.0] * len(ids)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            for row, value in zip(rows, self._forward([ids[r] for r in rows]), strict=True):
                values[row] = value
        known = dict(zip(distinct, values, strict=True))
        return [known[key] for key in asked]

    def _forward(self, ids: list[list[int]]) -> list[float]:
        longest = max(map(len, ids))
        padded = torch.zeros(len(ids), longest, dtype=torch.long)
        for k, row in enumerate(ids):
            padded[k, : len(row)] = torch.tensor(row)
        logits = self.model(input_ids=padded.to(self.device)).logits[..., 0]
        last = torch.tensor([len(row) - 1 for row in ids], device=self.device)
        picked = logits[torch.arange(len(ids), device=self.device), last]
        return [round(q, DECIMALS) for q in torch.sigmoid(picked.double()).tolist()]
