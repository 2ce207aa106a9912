"""Tiny random models of several architectures."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma2", "phi3", "qwen2_moe", "deepseek_v3")
SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_experts": 4,
    "n_routed_experts": 8,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "sliding_window": 6,  # where the family has one: shorter than the trajectories of the tests
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
"""Of Qwen3-Next, which has three layers of linear attention for each of softmax attention."""


def small(family: str, **more: Any) -> PreTrainedConfig:
    """The configuration of a tiny model of a family, as far as it has these fields."""
    torch.manual_seed(1)
    sizes = {**SMALL, **({"num_key_value_heads": 4} if family == "deepseek_v3" else {})}
    known = AutoConfig.for_model(family)
    fitting = {name: value for name, value in sizes.items() if hasattr(known, name)}
    return AutoConfig.for_model(family, **{**fitting, **more})
