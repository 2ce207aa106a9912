"""Samples together and apart give the logits of the plain model on each sample's own tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from qstar_core.policies import decoding
from qstar_core.policies.decoding import ATTENTION, Decoding, use_attention
from tests.models import random_llama

VOCABULARY = 20
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


def llama(heads_of_keys: int = 2) -> LlamaForCausalLM:
    more = {"num_key_value_heads": heads_of_keys, **SHAPE}
    model = random_llama(LlamaForCausalLM, VOCABULARY, **more).double().eval()
    use_attention(model)
    return model


MODEL, GROUPED = llama(), llama(heads_of_keys=1)


@torch.inference_mode()
def plain(model: Any, tokens: list[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([tokens])).logits[0, -1]


def play(
    model: Any,
    prompts: list[tuple[int, ...]],
    tokens: list[list[int]],
    ends: list[list[int]],
    together: bool = True,
) -> tuple[list[tuple[list[int], torch.Tensor]], list[bool]]:
    """Decodes; returns all tokens and the logits of each sample at each step, and the layouts."""
    found, layouts = [], []
    with torch.inference_mode():
        batch = Decoding(model, prompts, together)
        alive = list(range(len(prompts)))
        texts = [list(prompt) for prompt in prompts]
        for step, fresh in enumerate(tokens):
            found += [(list(texts[a]), batch.logits[b]) for b, a in enumerate(alive)]
            layouts.append(batch.together)
            keep = [b for b, a in enumerate(alive) if a not in ends[step]]
            if not keep:
                return found, layouts
            if len(keep) < len(alive):
                batch.keep(torch.tensor(keep))
                alive = [alive[b] for b in keep]
            for a in alive:
                texts[a].append(fresh[a])
            batch.step(torch.tensor([fresh[a] for a in alive]))
        found += [(list(texts[a]), batch.logits[b]) for b, a in enumerate(alive)]
    return found, layouts


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_sample_has_the_logits_of_its_own_tokens(data: st.DataObject) -> None:
    token = st.integers(0, VOCABULARY - 1)
    texts = data.draw(st.lists(st.lists(token, min_size=1, max_size=9), min_size=1, max_size=3))
    prompts = [tuple(t) for t in texts for _ in range(data.draw(st.integers(1, 4)))]
    steps = data.draw(st.integers(1, 6))
    row = st.lists(token, min_size=len(prompts), max_size=len(prompts))
    tokens = data.draw(st.lists(row, min_size=steps, max_size=steps))
    some = st.lists(st.integers(0, len(prompts) - 1), max_size=2)
    ends = data.draw(st.lists(some, min_size=steps, max_size=steps))
    model = data.draw(st.sampled_from([MODEL, GROUPED]))
    found, _ = play(model, prompts, tokens, ends, data.draw(st.booleans()))
    for text, logits in found:
        assert torch.allclose(logits, plain(model, text), atol=1e-12)


def test_samples_go_apart_when_their_own_tokens_outgrow_the_prompt() -> None:
    prompts = [tuple(range(8))] * 4
    tokens = [[k] * 4 for k in range(8)]
    _, layouts = play(MODEL, prompts, tokens, [[]] * 8)
    pays = [3 * step <= decoding.MASKED_PER_PROMPT * 8 for step in range(8)]
    assert layouts == pays and not all(pays)


def test_samples_go_apart_when_most_have_ended() -> None:
    prompts = [tuple(range(12))] * 3 + [tuple(range(1, 13))] * 3
    tokens = [[1] * 6, [2] * 6, [3] * 6, [4] * 6]
    _, layouts = play(MODEL, prompts, tokens, [[], [0], [1, 3, 4], []])
    assert layouts == [True, True, True, False]


def test_a_row_whose_samples_have_all_ended_leaves() -> None:
    prompts = [tuple(range(12))] * 3 + [tuple(range(1, 13))] * 3
    with torch.inference_mode():
        batch = Decoding(MODEL, prompts, True)
        batch.keep(torch.tensor([3, 4, 5]))
        assert batch.together and len(batch.real) == 1 and batch.owner.tolist() == [0, 0, 0]
        batch.step(torch.tensor([1, 2, 3]))
        assert len(batch.logits) == 3


@pytest.mark.parametrize("prompts", [[(1, 2, 3)], [(1, 2), (2, 1), (3, 1)]])
def test_single_samples_are_apart(prompts: list[tuple[int, ...]]) -> None:
    with torch.inference_mode():
        assert not Decoding(MODEL, prompts, True).together


def test_a_model_with_a_sliding_window_keeps_its_attention() -> None:
    config = Qwen2Config(**SHAPE, num_key_value_heads=2, use_sliding_window=True, sliding_window=8)
    model = Qwen2ForCausalLM(config)
    use_attention(model)
    assert model.config._attn_implementation != ATTENTION
    assert MODEL.config._attn_implementation == ATTENTION
