"""Whether a model keeps the sequences of a row apart, asked of the model itself.

Positions that restart are all that says where a sequence of a row begins. Whether a model heeds
them is its own code: softmax attention does where transformers builds its mask from the positions,
linear attention and state-space layers carry their state on. So two sequences are put through the
model packed and alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from qstar_core.errors import UserError

TOLERANCE = 1e-3
"""Of the largest logit, in float32: sequences that see each other differ by far more."""


@torch.no_grad()
def contamination(
    model: PreTrainedModel, one: Sequence[int], other: Sequence[int], rows: int = 1
) -> float:
    """How much the logits of two packed sequences differ from those of each alone.

    Args:
        model: a causal LM or a token classifier, in float32; it is left in the mode that it is in.
        one: token ids, two at least.
        other: likewise.
        rows: of the batch: 1, or 2 for a second one that holds the two in the other order.

    Returns:
        The largest absolute difference of a logit, as a share of the largest logit by size;
        infinite where the model takes no positions.
    """
    device, trained = model.device, model.training
    both = [torch.tensor(list(each), device=device) for each in (one, other)]
    packs = [both, both[::-1]][:rows]
    ids = torch.stack([torch.cat(pack) for pack in packs])
    places = torch.stack(
        [torch.cat([torch.arange(len(part), device=device) for part in pack]) for pack in packs]
    )
    model.eval()
    try:
        alone = [model(input_ids=part[None], use_cache=False).logits[0] for part in both]
        packed = model(input_ids=ids, position_ids=places, use_cache=False).logits
    except (TypeError, ValueError) as error:
        if "position_ids" not in str(error):
            raise
        return float("inf")
    finally:
        model.train(trained)
    expected = torch.stack([torch.cat(pack) for pack in [alone, alone[::-1]][:rows]])
    largest = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return float((packed - expected).abs().max() / largest)


def check_apart(
    model: PreTrainedModel,
    sequences: Sequence[Sequence[int]],
    field: str,
    off: str,
    rows: int = 1,
) -> None:
    """Refuses packing where the sequences of a row see each other.

    Args:
        model: as in `contamination`.
        sequences: to train on; the first and the last are tried.
        field: of the configuration that packs, ``section.name``.
        off: its value without packing.
        rows: as in `contamination`.

    Raises:
        UserError: they do.
    """
    found = contamination(model, sequences[0], sequences[-1], rows)
    if found > TOLERANCE:
        raise UserError(
            f"{field}: {type(model).__name__} lets the sequences of a row see each other (a logit "
            f"differs by {found:.2g} of the largest): it does not heed where positions begin anew",
            safe="what was made before is kept, and nothing was trained",
            next_step=f"--set {field}={off} trains with one sequence per row",
        )
