from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertModel
from transformers import PreTrainedTokenizerFast as Fast

from qstar_core.adaptive.embedding import DECIMALS, Encoder
from qstar_core.errors import UserError
from qstar_core.policies.checkpoint import resolve_checkpoint
from tests.models import tiny_text_policy

TEXTS = ["What is 2 + 2?", "a", "How many cats sit on the 3 mats of Anna? " * 3, "b c"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(tiny_text_policy(), batch_size=3)


def test_it_is_the_mean_of_the_last_hidden_states(encoder: Encoder) -> None:
    folder = tiny_text_policy()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    ids = AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")["input_ids"]
    states = model(ids, output_hidden_states=True).hidden_states[-1][0]
    found = encoder.embed(TEXTS)[0]
    np.testing.assert_allclose(found, states.mean(dim=0).detach(), atol=10.0**-DECIMALS)


def test_it_depends_neither_on_batch_nor_on_order(encoder: Encoder) -> None:
    together = encoder.embed(TEXTS)
    assert together.shape == (4, encoder.width) and together.dtype == np.float32
    alone = np.concatenate([encoder.embed([text]) for text in TEXTS])
    turned = encoder.embed(TEXTS[::-1])[::-1]
    assert (together == alone).all() and (together == turned).all()
    again = Encoder(tiny_text_policy(), batch_size=1)
    assert (again.embed(TEXTS) == together).all()
    assert again.fingerprint == encoder.fingerprint
    assert encoder.embed([]).shape == (0, encoder.width)


def test_the_last_one_is_the_state_after_which_the_answer_begins() -> None:
    folder = tiny_text_policy()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    ids = AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")["input_ids"]
    state = model(ids, output_hidden_states=True).hidden_states[-1][0, -1]
    encoder = Encoder(folder, batch_size=3, pooling="last")
    found = encoder.embed(TEXTS)
    np.testing.assert_allclose(found[0], state.detach(), atol=10.0**-DECIMALS)
    assert (np.concatenate([encoder.embed([text]) for text in TEXTS]) == found).all()


def test_the_reference_policy_is_an_encoder() -> None:
    encoder = Encoder(resolve_checkpoint("reference:countdown-policy", "embedding"))
    found = encoder.embed(["11 7 5 5 > 23\n", "3 4 5 6 > 7\n"])
    assert found.shape == (2, 128) and not (found[0] == found[1]).all()


def test_a_bert_is_an_encoder(tmp_path: Path) -> None:
    words = {w: k for k, w in enumerate(["[PAD]", "[UNK]", "what", "is", "this", "cat"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    Fast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(tmp_path)
    encoder = Encoder(resolve_checkpoint(str(tmp_path), "embedding"))
    found = encoder.embed(["what is this", "cat"])
    assert found.shape == (2, 16)
    assert (found[1] == encoder.embed(["cat"])[0]).all()  # padding does not count


def test_an_empty_question_is_refused_and_a_long_one_is_told(
    encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match=r"question 1 .* is empty"):
        encoder.embed(["a", ""])
    long = "x" * (encoder.context + 50)
    with caplog.at_level(logging.WARNING):
        found = encoder.embed([long, "a"])
    assert "1 questions fill the embedding's context of 512" in caplog.text
    assert (found[0] == encoder.embed(["x" * encoder.context])[0]).all()
