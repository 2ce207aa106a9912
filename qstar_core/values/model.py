"""The QVM is a standard Hugging Face token-classification checkpoint with one label.

``AutoModelForTokenClassification.from_pretrained`` loads it. The logit at a step's last token
goes through a sigmoid to give Q(s, a) in [0, 1]. (The paper regresses an unbounded value; with
R in {0, 1} and gamma <= 1 the returns lie in [0, 1], and the sigmoid keeps them there.)
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from qstar_core.values.data import Batch


def initialise(backbone: Path, seed: int) -> PreTrainedModel:
    """A QVM with the weights of a causal LM and a new head, in float32.

    Args:
        backbone: folder of the causal LM, usually the policy.
        seed: of the head's random weights.
    """
    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(backbone, num_labels=1, classifier_dropout=0.0)
    config.id2label, config.label2id = {0: "Q"}, {"Q": 0}
    model: PreTrainedModel = AutoModelForTokenClassification.from_pretrained(
        backbone, config=config, dtype=torch.float32, use_safetensors=True
    )
    return model


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer saved with a checkpoint."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return tokenizer


def step_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The logit of every step of a batch, [steps], float32."""
    logits = model(input_ids=batch.ids).logits[..., 0]
    return logits[batch.rows, batch.ends].float()  # type: ignore[no-any-return]
