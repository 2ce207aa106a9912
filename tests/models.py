"""Tiny models with random weights, for tests that need a checkpoint but not a good one."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from shutil import copytree
from tempfile import mkdtemp
from typing import Any, TypeVar

import torch
from transformers import LlamaConfig, PreTrainedModel

from qstar_core.config import PretrainConfig
from qstar_core.policies.pretrain import build_model, build_tokenizer
from qstar_core.values.model import initialise

Model = TypeVar("Model", bound=PreTrainedModel)


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


def random_llama(
    kind: type[Model],
    vocabulary: int,
    *,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 2,
    **more: Any,
) -> Model:
    """A Llama with random weights, always the same; its inner layers are twice as wide."""
    torch.manual_seed(0)
    shape = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": layers}
    shape |= {"vocab_size": vocabulary, "num_attention_heads": heads}
    return kind(LlamaConfig(**{**shape, **more}))


def copied(folder: Path, to: Path, **settings: Any) -> Path:
    """A copy of a checkpoint with other settings in its config.json."""
    copytree(folder, to)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (to / "config.json").write_text(json.dumps({**config, **settings}), encoding="utf-8")
    return to


CHARACTERS = " \n0123456789+-*/=#.?:,<>$" + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@lru_cache(maxsize=2)
def tiny_text_policy(context: int = 512) -> Path:
    """A two-layer random Llama with a token per character, for domains whose questions are text."""
    from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {token: k for k, token in enumerate(["<eos>", "<unk>", *CHARACTERS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    folder = Path(mkdtemp(prefix="qstar-tiny-text-"))
    own = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
    own |= {"max_position_embeddings": context, "intermediate_size": 64}
    # 32 for each head, as vLLM's attention on a CPU wants
    model = random_llama(LlamaForCausalLM, len(vocabulary), hidden=64, **own)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def tiny_classifier(folder: Path) -> Path:
    """A sequence classifier with one label, a token per character and a context of 100."""
    from transformers import AutoTokenizer, LlamaForSequenceClassification

    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(tiny_text_policy())
    config.num_labels, config.pad_token_id = 1, 1
    config.max_position_embeddings = 100
    model = LlamaForSequenceClassification(config)
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_text_policy()).save_pretrained(folder)
    return folder
