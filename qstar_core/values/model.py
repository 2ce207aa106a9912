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
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)
from transformers.pytorch_utils import Conv1D

from qstar_core.errors import UserError
from qstar_core.values.calibration import HEADS
from qstar_core.values.data import Sequences
from qstar_core.values.losses import Batch


def initialise(backbone: Path, seed: int) -> PreTrainedModel:
    """A QVM with the weights of a causal LM and a new head, in float32.

    Args:
        backbone: folder of the causal LM, usually the policy.
        seed: of the head's random weights.

    Raises:
        UserError: transformers has no token classification for its architecture.
    """
    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(backbone, num_labels=1, trust_remote_code=False)
    check_family(config.model_type, backbone)
    config.classifier_dropout = 0.0  # given to AutoConfig it is lost, and the default is 0.1
    config.id2label, config.label2id = {0: "Q"}, {"Q": 0}
    model: PreTrainedModel = AutoModelForTokenClassification.from_pretrained(
        backbone, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    return model


def check_family(model_type: str, backbone: Path) -> None:
    """Makes sure that an architecture has a token-classification head in transformers.

    Raises:
        UserError: it has none; names those of causal LMs that do.
    """
    heads = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES
    if model_type not in heads:
        encoders = set(MODEL_FOR_MASKED_LM_MAPPING_NAMES)  # with a causal head all the same
        known = sorted(set(heads) & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - encoders)
        raise UserError(
            f"{backbone}: transformers has no token classification for models of type "
            f"{model_type}, so no value model can start from it",
            safe="problems, rollouts and labels are kept",
            next_step="set qvm.init to a model of one of these types: " + ", ".join(known),
        )


def check_causal(model: PreTrainedModel, folder: Path, next_step: str, safe: str = "") -> None:
    """Makes sure that a step's value does not depend on what follows it.

    Args:
        model: of token classification.
        folder: it comes from.
        next_step: what to do where it is not causal.
        safe: what is kept then.

    Raises:
        UserError: it does; the model is an encoder.
    """
    if is_causal(model):
        return
    raise UserError(
        f"{folder}: {type(model).__name__} is not causal: the logit at a token changes with the "
        "tokens after it, so a step's value would depend on what follows it",
        safe=safe,
        next_step=next_step,
    )


@torch.no_grad()
def is_causal(model: PreTrainedModel) -> bool:
    """Whether a token's logit stays when the last token changes, by two short sequences.

    In a batch of one shape a causal model gives equal bits; the tolerance, epsilon ** 0.75 of the
    precision, is for those that route tokens to experts and so change the shapes within.
    """
    ids = torch.arange(2, 8).repeat(2, 1) % model.config.get_text_config().vocab_size
    ids[1, -1] = 1
    logits = model(input_ids=ids.to(model.device), use_cache=False).logits[:, :-1].double()
    allowed: float = torch.finfo(model.dtype).eps ** 0.75 * max(1.0, float(logits.abs().max()))
    moved = float((logits[0] - logits[1]).abs().max())
    return moved <= allowed


def add_lora(model: PreTrainedModel, rank: int, alpha: int, seed: int) -> torch.nn.Module:
    """The model with a LoRA adapter on all linear layers but the head; that and the head train.

    GPT-2's ``Conv1D`` is a linear layer too.

    ``merge_and_unload()`` of the result is a plain model again.

    Args:
        model: from `initialise`.
        rank: of the adapter's matrices, at least 1.
        alpha: its output is multiplied by alpha / rank.
        seed: of its random weights.

    Raises:
        UserError: its layers are of a kind that an adapter is not put on.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear | Conv1D)}
    heads = [name for name in HEADS if name in linear]
    inner = sorted(linear.keys() - heads)
    if not heads or not inner:
        raise UserError(
            f"{type(model).__name__} has no linear layers that a LoRA adapter could be put on",
            safe="problems, rollouts and labels are kept",
            next_step="--set qvm.lora_rank=0   trains all of its weights",
        )
    transposed = any(isinstance(linear[name], Conv1D) for name in inner)
    lora = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=inner,
        modules_to_save=heads,
        fan_in_fan_out=transposed,
    )
    return get_peft_model(model, lora)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer saved with a checkpoint."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False
    )
    return tokenizer


def check_tokens(model: PreTrainedModel, data: Sequences, backbone: Path) -> None:
    """Makes sure that the model has an embedding for each token, and positions enough.

    Raises:
        UserError: a token id is beyond its embeddings: the tokenizer is another model's. Or a
            trajectory is longer than its context.
    """
    rows = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
    highest = max((max(ids) for ids in data.ids), default=0)
    safe = "problems, rollouts and labels are kept"
    if highest >= rows:
        raise UserError(
            f"{backbone}: tokenizer and model do not belong together: the tokenizer gives token "
            f"{highest}, and the model has {rows} embeddings",
            safe=safe,
            next_step="put the tokenizer that the model was trained with into that folder, or set "
            "qvm.init to another model",
        )
    longest = max(map(len, data.ids), default=0)
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or longest
    if longest > context:
        raise UserError(
            f"{backbone}: a trajectory has {longest} tokens, and the model's context is {context}",
            safe=safe,
            next_step="set qvm.init to a model with a longer context; or, where trajectories are "
            "sampled, lower rollouts.max_new_tokens; where they are imported or annotated, leave "
            "longer ones out of the file",
        )


def step_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The logit of every step of a batch, [steps], float32."""
    given = {name: batch[name] for name in ("input_ids", "position_ids") if name in batch}
    logits = model(**given, use_cache=False).logits[..., 0]  # with a cache rows are not unpacked
    return logits[batch["rows"], batch["ends"]].float()  # type: ignore[no-any-return]
