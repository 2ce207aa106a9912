"""Random token sequences that share beginnings, and a small random model to score them."""

from __future__ import annotations

from functools import lru_cache

import torch
from hypothesis import strategies as st
from transformers import AutoModelForTokenClassification, LlamaConfig, PreTrainedModel

from qstar_core.values.packing import Tokens

SEQUENCES = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=12).map(tuple),
    min_size=1,
    max_size=20,
    unique=True,
)


@lru_cache(maxsize=1)
def random_model() -> PreTrainedModel:
    """Two layers in float64; grouped heads, as in most models of today."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_labels=1,
    )
    made: PreTrainedModel = AutoModelForTokenClassification.from_config(config).double().eval()
    return made


def naive(model: PreTrainedModel, tokens: Tokens) -> float:
    """The logit at the last token of a sequence that is computed by itself."""
    with torch.inference_mode():
        return float(model(input_ids=torch.tensor([tokens])).logits[0, -1, 0])
