"""Models that cannot give a step's value are refused when they are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertForTokenClassification,
    BloomConfig,
    BloomForTokenClassification,
    LlamaForTokenClassification,
)

from qstar_core.errors import UserError
from qstar_core.policies.pretrain import build_tokenizer
from qstar_core.values.model import is_causal
from qstar_core.values.score import TransformersValue, load
from tests.models import tiny_qvm


def tiny_bert(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=1,
    )
    BertForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_encoder_is_refused_when_it_is_loaded(tmp_path: Path, dtype: str) -> None:
    folder = tiny_bert(tmp_path / "bert")
    with pytest.raises(UserError, match="BertForTokenClassification is not causal") as raised:
        TransformersValue(folder, dtype, "cpu", 8)
    assert str(folder) in raised.value.what
    assert "qvm.path or prm.path" in raised.value.next_step


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_causal_model_is_taken_in_every_precision(dtype: str) -> None:
    model = load(tiny_qvm(), dtype, "cpu")
    assert isinstance(model, LlamaForTokenClassification)
    assert is_causal(model)


def test_an_architecture_without_sdpa_scores_each_text_by_itself(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = BloomConfig(
        vocab_size=len(tokenizer), hidden_size=32, n_layer=1, n_head=2, num_labels=1
    )
    BloomForTokenClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    value = TransformersValue(tmp_path, "float64", "cpu", 8)
    assert not value.scorer.shares
    texts = ["1 2 3 1", "1 2 3 2", "1", "3 + 1 1 2"]
    alone = [value.score([text], [False])[0] for text in texts]
    assert value.score(texts, [False] * 4) == alone
