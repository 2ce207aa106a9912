"""Random token sequences that share beginnings, and a small random model to score them."""

from __future__ import annotations

from functools import lru_cache

import torch
from hypothesis import strategies as st
from transformers import LlamaForTokenClassification, PreTrainedModel

from qstar_core.values.packing import Tokens
from tests.models import random_llama

SEQUENCES = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=12).map(tuple),
    min_size=1,
    max_size=20,
    unique=True,
)


@lru_cache(maxsize=1)
def random_model() -> PreTrainedModel:
    """Two layers in float64; grouped heads, as in most models of today."""
    shape = {"heads": 4, "num_key_value_heads": 2, "num_labels": 1}
    return random_llama(LlamaForTokenClassification, 8, **shape).double().eval()


def naive(model: PreTrainedModel, tokens: Tokens) -> float:
    """The logit at the last token of a sequence that is computed by itself."""
    with torch.inference_mode():
        return float(model(input_ids=torch.tensor([tokens])).logits[0, -1, 0])
