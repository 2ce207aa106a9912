"""Tiny models with random weights, for tests that need a checkpoint but not a good one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from qstar_core.config import PretrainConfig
from qstar_core.policies.pretrain import build_model, build_tokenizer
from qstar_core.values.model import initialise


@lru_cache(maxsize=1)
def tiny_policy() -> Path:
    """A one-layer Llama over the countdown vocabulary, as a Hugging Face folder."""
    folder = Path(mkdtemp(prefix="qstar-tiny-"))
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = PretrainConfig(hidden_size=32, intermediate_size=64, layers=1, heads=2)
    build_model(config, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@lru_cache(maxsize=2)
def tiny_qvm(seed: int = 0) -> Path:
    """A token-classification checkpoint that starts from `tiny_policy`, its head random."""
    folder = Path(mkdtemp(prefix="qstar-tiny-qvm-"))
    model = initialise(tiny_policy(), seed)
    torch.nn.init.normal_(model.score.weight, std=0.5)  # type: ignore[union-attr, arg-type]
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder
