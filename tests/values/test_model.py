from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from qstar_core.errors import UserError
from qstar_core.optimizers import Together, build_adamw, build_optimizers
from qstar_core.values.model import add_lora, check_causal, check_family, initialise
from qstar_core.values.train import CAUSAL
from tests.models import tiny_policy

from .families import FAMILIES, small


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapter", [False, True])
def test_a_value_model_starts_from_a_causal_lm(tmp_path: Path, family: str, adapter: bool) -> None:
    policy = AutoModelForCausalLM.from_config(small(family))
    policy.save_pretrained(tmp_path)
    model = initialise(tmp_path, 0)
    assert torch.equal(model.get_input_embeddings().weight, policy.get_input_embeddings().weight)
    ids = torch.arange(5, 25)[None]
    hidden = policy.model(ids).last_hidden_state
    torch.testing.assert_close(model(ids).logits, model.score(hidden))  # type: ignore[operator]
    if adapter:
        adapted = add_lora(model, 2, 16, 0)
        adapted(input_ids=ids).logits.sum().backward()
        plain = adapted.merge_and_unload()  # type: ignore[operator]
        names = {name for name, _ in initialise(tmp_path, 0).named_parameters()}
        assert {name for name, _ in plain.named_parameters()} == names


def test_a_family_without_a_head_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(UserError, match="no token classification for models of type gptj") as e:
        check_family("gptj", Path("model"))
    for family in ("llama", "qwen2", "qwen3", "mistral", "deepseek_v3"):
        assert family in e.value.next_step
    for family in ("albert", "bert,", "roberta", "xlm-roberta", "electra"):  # no causal LMs
        assert family not in e.value.next_step


def test_an_encoder_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    AutoModelForMaskedLM.from_config(small("bert")).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="BertForTokenClassification is not causal") as caught:
        check_causal(initialise(tmp_path, 0), tmp_path, CAUSAL)
    assert "set qvm.init to a causal LM" in caught.value.next_step
    check_causal(initialise(tiny_policy(), 0), tiny_policy(), CAUSAL)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "bloom"])
def test_an_adapter_where_the_head_has_another_name(tmp_path: Path, family: str) -> None:
    AutoModelForCausalLM.from_config(small(family)).save_pretrained(tmp_path)
    model, ids = initialise(tmp_path, 0), torch.arange(5, 25)[None]
    before = model(ids).logits
    adapted = add_lora(model, 2, 16, seed=0)
    torch.testing.assert_close(adapted(input_ids=ids).logits, before)
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert {name for name in trained if "classifier.modules_to_save" in name}
    assert not any("lora_" in name and "classifier" in name for name in trained)
    assert len([name for name in trained if "lora_" in name]) >= 2 * 2 * 2  # of two layers


def test_a_model_without_linear_layers_gets_no_adapter() -> None:
    model = initialise(tiny_policy(), 0)
    model.score = torch.nn.Identity()
    with pytest.raises(UserError, match="no linear layers") as caught:
        add_lora(model, 2, 16, seed=0)
    assert "qvm.lora_rank=0" in caught.value.next_step


def test_nothing_is_dropped_at_random() -> None:
    model = initialise(tiny_policy(), 0).train()
    ids = torch.arange(5, 25)[None]
    assert torch.equal(model(ids).logits, model(ids).logits)
    assert not torch.equal(model.score.weight, initialise(tiny_policy(), 1).score.weight)  # type: ignore[union-attr, arg-type]


def test_an_adapter_begins_as_nothing_and_trains_itself_and_the_head() -> None:
    model, ids = initialise(tiny_policy(), 0), torch.arange(5, 25)[None]
    before = model(ids).logits
    adapted = add_lora(model, 2, 16, seed=0)
    assert torch.equal(adapted(input_ids=ids).logits, before)
    trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert all("lora_" in name or "score.modules_to_save" in name for name in trained)
    assert len(trained) == 2 * 7 + 2  # query, key, value, output, gate, up, down; the head
    [adamw] = build_optimizers(adapted, 1e-3, 0.0)
    assert isinstance(adamw, torch.optim.AdamW)


def test_optimizers_together_do_what_they_do_alone() -> None:
    one, other = (initialise(tiny_policy(), 0) for _ in range(2))
    alone, together = build_optimizers(one, 1e-2, 0.1), Together(build_optimizers(other, 1e-2, 0.1))
    assert sum(len(g["params"]) for g in together.param_groups) == len(list(other.parameters()))
    ids = torch.arange(5, 25)[None]
    for _ in range(3):
        for model, parts in ((one, alone), (other, [together])):
            model(ids).logits.sum().backward()
            for optimizer in parts:
                optimizer.step()
                optimizer.zero_grad()
        state = together.state_dict()
        together.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    together.param_groups[0]["lr"] = 0.5
    assert together.parts[0].param_groups[0]["lr"] == 0.5


def test_adamw_takes_every_parameter_once_and_lets_matrices_decay() -> None:
    model = initialise(tiny_policy(), 0)
    groups = build_adamw(model, 1e-3, 0.1).param_groups
    taken = [id(p) for group in groups for p in group["params"]]
    assert sorted(taken) == sorted(id(p) for p in model.parameters())
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
    assert all(p.ndim == 2 for p in groups[0]["params"])
