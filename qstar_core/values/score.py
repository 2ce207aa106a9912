"""Scoring actions with a QVM checkpoint in transformers, many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModelForTokenClassification, PreTrainedModel

from qstar_core.policies.identity import fingerprint
from qstar_core.policies.transformers import DTYPES, pick_device
from qstar_core.values.model import check_causal, load_tokenizer
from qstar_core.values.packing import Tokens
from qstar_core.values.prefix_scorer import PrefixScorer

DECIMALS = 6  # rounding hides the last bits, which depend on the batch's shape
CACHE_MB = 512


class TransformersValue:
    """A QVM from a local folder.

    In float64 a score is the same number in every batch and whatever is cached, once it is rounded
    to six decimals; see `qstar_core.values.prefix_scorer`.

    Args:
        folder: the checkpoint.
        dtype: numeric precision.
        device: of torch, or ``auto``.
        batch_size: texts in one batch.
        cache_mb: MiB of keys and values of long prefixes kept for later calls.

    Raises:
        UserError: the model is not causal.
    """

    def __init__(
        self, folder: Path, dtype: str, device: str, batch_size: int, cache_mb: int = CACHE_MB
    ) -> None:
        self.fingerprint = fingerprint(folder, dtype)
        self.tokenizer = load_tokenizer(folder)
        model = load(folder, dtype, device)
        self.scorer = PrefixScorer(model, batch_size, cache_mb, self.tokenizer.eos_token_id)

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        """Q(s, a) of each text; see `qstar_core.values.ValueModel.score`."""
        if not texts:
            return []
        asked = list(zip(texts, ended, strict=True))
        distinct = list(dict.fromkeys(asked))
        values = self.scorer.values(encode(self.tokenizer, distinct))
        known = {key: round(q, DECIMALS) for key, q in zip(distinct, values, strict=True)}
        return [known[key] for key in asked]


CAUSAL = (
    "name a token-classification model of a causal LM in qvm.path or prm.path, for example "
    "reference:countdown-qvm"
)


def load(folder: Path, dtype: str, device: str) -> PreTrainedModel:
    """A token-classification model for scoring, with SDPA attention if its architecture has it.

    Args:
        folder: the checkpoint.
        dtype: numeric precision.
        device: of torch, or ``auto``.

    Raises:
        UserError: it is not causal.
    """
    model: PreTrainedModel = AutoModelForTokenClassification.from_pretrained(
        folder, dtype=DTYPES[dtype], use_safetensors=True, trust_remote_code=False
    ).to(pick_device(device))
    if model._supports_sdpa:
        model.set_attn_implementation("sdpa")
    model.eval()
    model.requires_grad_(False)
    check_causal(model, folder, CAUSAL)
    return model


def encode(tokenizer: Any, texts: Sequence[tuple[str, bool]]) -> list[Tokens]:
    """Token ids of (text, whether the policy ended it there)."""
    eos = tokenizer.eos_token_id
    found = tokenizer([text for text, _ in texts])["input_ids"]
    return [(*ids, eos) if end else tuple(ids) for ids, (_, end) in zip(found, texts, strict=True)]
