from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForTokenClassification
from transformers import PreTrainedModel as Model

from qstar_core.errors import UserError
from qstar_core.training.packing import check_apart, contamination
from tests.values.families import FAMILIES, LINEAR, small

SEQUENCES = [[3, 4, 5, 6, 7], [8, 9, 10], [3, 3, 4, 11]]


def causal(family: str, attention: str = "eager") -> Model:
    """A random causal LM of two layers."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=16,
        head_dim=16,
        pad_token_id=0,
    )
    model: Model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return model.float()


def classifier(family: str, attention: str = "eager", **more: Any) -> Model:
    """A random token classifier with one label."""
    config = small(family, num_labels=1, **more)
    model: Model = AutoModelForTokenClassification.from_config(
        config, attn_implementation=attention
    )
    return model.float()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gemma2"])
def test_packed_sequences_do_not_see_each_other(family: str, attention: str) -> None:
    model = causal(family, attention).train()
    assert contamination(model, SEQUENCES[0], SEQUENCES[1]) < 1e-5
    check_apart(model, SEQUENCES, "sft.packing", "false")
    assert model.training


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_nor_do_those_of_a_value_model(family: str, attention: str) -> None:
    model = classifier(family, attention).eval()
    assert contamination(model, SEQUENCES[0], SEQUENCES[1], rows=2) < 1e-5
    check_apart(model, SEQUENCES, "qvm.pack_tokens", "0", rows=2)
    assert not model.training


def test_linear_attention_carries_on_what_it_has_seen() -> None:
    """Qwen3-Next has three such layers for each one of softmax attention."""
    model = classifier("qwen3_next", **LINEAR)
    assert contamination(model, SEQUENCES[0], SEQUENCES[1], rows=2) > 0.01
    with pytest.raises(UserError, match=r"prm\.pack_tokens: Qwen3Next.* see each other") as caught:
        check_apart(model, SEQUENCES, "prm.pack_tokens", "0", rows=2)
    assert "--set prm.pack_tokens=0" in caught.value.next_step
    assert "nothing was trained" in caught.value.safe


def test_a_model_that_does_not_heed_positions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = causal("llama")
    forward = model.forward

    def heedless(position_ids: Any = None, **given: Any) -> Any:
        return forward(**given)

    monkeypatch.setattr(model, "forward", heedless)
    with pytest.raises(UserError, match="lets the sequences of a row see each other") as caught:
        check_apart(model, SEQUENCES, "sft.packing", "false")
    assert "--set sft.packing=false" in caught.value.next_step


def test_a_model_that_takes_no_positions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = causal("llama")
    forward = model.forward

    def without(input_ids: Any, use_cache: bool) -> Any:
        return forward(input_ids=input_ids, use_cache=use_cache)

    monkeypatch.setattr(model, "forward", without)
    assert contamination(model, SEQUENCES[0], SEQUENCES[1]) == float("inf")
    with pytest.raises(UserError, match="differs by inf"):
        check_apart(model, SEQUENCES, "sft.packing", "false")


def test_other_errors_of_a_model_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    model = causal("llama")

    def broken(**given: Any) -> Any:
        raise ValueError("shapes differ")

    monkeypatch.setattr(model, "forward", broken)
    with pytest.raises(ValueError, match="shapes differ"):
        contamination(model, SEQUENCES[0], SEQUENCES[1])
