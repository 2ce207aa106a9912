"""Whether a model keeps the sequences of a pack apart, asked of the model itself.

Positions that restart are all that says where a sequence of a pack begins. Whether attention heeds
them is the model's own code, so two sequences are put through it packed and alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from qstar_core.errors import UserError

TOLERANCE = 1e-3
"""Of a logit, in float32; sequences that see each other differ by far more."""


@torch.no_grad()
def contamination(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> float:
    """How much the logits of packed sequences differ from those of each alone, at most.

    Args:
        model: a causal LM in float32; it is left in the mode that it is in.
        sequences: token ids; each of them needs two tokens at least.

    Returns:
        The largest absolute difference of a logit.
    """
    device, trained = model.device, model.training
    model.eval()
    ids = [torch.tensor(each, device=device) for each in sequences]
    places = torch.cat([torch.arange(len(each), device=device) for each in ids])
    packed = model(input_ids=torch.cat(ids)[None], position_ids=places[None], use_cache=False)
    alone = [model(input_ids=each[None], use_cache=False).logits[0] for each in ids]
    model.train(trained)
    return float((packed.logits[0] - torch.cat(alone)).abs().max())


def check_apart(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> None:
    """Refuses packing where the sequences of a pack see each other.

    Raises:
        UserError: they do.
    """
    found = contamination(model, sequences)
    if found > TOLERANCE:
        raise UserError(
            f"sft.packing: {type(model).__name__} lets the solutions of a pack see each other "
            f"(a logit differs by {found:.2g})",
            safe="problems and rollouts are kept, and nothing was trained",
            next_step="--set sft.packing=false trains with one solution per row",
        )
