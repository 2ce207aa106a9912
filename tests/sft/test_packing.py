from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from qstar_core.errors import UserError
from qstar_core.sft.packing import check_apart, contamination

SEQUENCES = [[3, 4, 5, 6, 7], [8, 9, 10], [3, 3, 4, 11]]


def tiny(family: str, attention: str) -> PreTrainedModel:
    """A random model of two layers."""
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
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return model.float()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gemma2"])
def test_packed_sequences_do_not_see_each_other(family: str, attention: str) -> None:
    model = tiny(family, attention).train()
    assert contamination(model, SEQUENCES) < 1e-5
    check_apart(model, SEQUENCES)
    assert model.training


def test_a_model_that_mixes_them_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama", "eager")
    forward = model.forward

    def heedless(position_ids: Any = None, **given: Any) -> Any:
        return forward(**given)

    monkeypatch.setattr(model, "forward", heedless)
    with pytest.raises(UserError, match="lets the solutions of a pack see each other") as caught:
        check_apart(model, SEQUENCES)
    assert "sft.packing=false" in caught.value.next_step
