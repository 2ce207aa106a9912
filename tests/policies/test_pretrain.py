from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from qstar_core.config import PretrainConfig
from qstar_core.policies.pretrain import PlayStream, build_tokenizer, train

SMALL = {
    "batch_size": 16,
    "numbers": {4: 1.0},
    "flatten": 0.0,
    "max_target": 50,
    "min_target": 1,
    "miss_share": 0.5,
}
TINY = {"hidden_size": 16, "intermediate_size": 16, "layers": 1, "heads": 2, "compile": False}


@pytest.mark.parametrize("instructed", [False, True])
def test_what_is_to_be_predicted_is_what_follows_the_question(instructed: bool) -> None:
    stream = PlayStream(PretrainConfig(**SMALL, instructed=instructed))
    tokenizer = build_tokenizer()
    lengths, masked = set(), False
    for _ in range(12):
        ids, labels = stream.batch()
        assert len(ids) == len(labels) == 16
        question = ids.shape[1] - labels.shape[1]
        told = labels != -100
        assert (ids[:, question:][told] == labels[told]).all()
        assert tokenizer.decode(ids[0, 1:question]).endswith("\n")
        masked |= bool((~told).any())
        lengths.add(ids.shape[1])
    assert masked == instructed
    assert len(lengths) == (3 if instructed else 1)  # plays of one, two and three lines


def test_the_batches_depend_on_the_seed_alone() -> None:
    one, same, other = (
        PlayStream(PretrainConfig(**SMALL, instructed=True, seed=seed)).batch()[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_questions_without_a_play_add_to_the_loss(tmp_path: Path) -> None:
    small = {**SMALL, **TINY, "numbers": {3: 1.0}, "max_number": 6, "instructed": True, "steps": 1}
    stream = PlayStream(PretrainConfig(**small, questions=8))
    ids, likely = stream.questions()
    assert ids.shape == (8, 7) and likely.shape == (8, len(build_tokenizer()))
    assert torch.allclose(likely.sum(dim=1), torch.ones(8))
    losses = []
    for questions in (0, 8):
        config = PretrainConfig(**small, questions=questions)
        losses.append(train(config, tmp_path / str(questions), lambda _: None)["loss"])
    assert losses[1] > losses[0] + 1  # untrained, one word of some hundred costs more than a nat


@pytest.mark.parametrize("wrong", [{"instructed": False}, {"numbers": {4: 1.0}}])
def test_questions_are_of_instructed_policies_and_few_numbers(wrong: dict[str, Any]) -> None:
    settings = {**SMALL, "numbers": {3: 1.0}, "instructed": True, "questions": 8, **wrong}
    with pytest.raises(ValidationError, match="3 numbers at most"):
        PretrainConfig(**settings)


def test_weights_are_saved_in_half_precision_and_loaded_in_any(tmp_path: Path) -> None:
    config = PretrainConfig(**SMALL, **TINY, instructed=True, steps=2, saved_as="float16")
    told = []
    train(config, tmp_path / "policy", told.append)
    assert told[-1]["step"] == 2
    weights = load_file(tmp_path / "policy" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "policy", dtype=torch.float32)
    name = "model.embed_tokens.weight"
    assert torch.equal(model.state_dict()[name], weights[name].float())
