"""Trajectories put together as one batch: padded, or packed several to a row.

A row may hold trajectories one after the other. Their positions begin at 0 again, and that is how
they are told apart: without an attention mask, transformers makes a causal mask that is
block-diagonal where positions restart (`masking_utils.find_packed_sequence_indices`), sliding
windows included, for eager and SDPA attention, which are the two that training takes
(`optimizers.TRAINING_ATTENTION`). FlashAttention finds restarts in a batch of one row only and is
not used. Layers that are no softmax attention carry their state on; `training.packing` refuses
packing there. Padding stands behind everything and no step looks at it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from qstar_core.values import losses
from qstar_core.values.data import Sequences
from qstar_core.values.losses import Batch


def collate(
    data: Sequences,
    places: Sequence[int] | npt.NDArray[np.int64],
    pack_tokens: int = 0,
    kind: str = "bce",
) -> Batch:
    """The batch of some trajectories.

    Args:
        data: all trajectories.
        places: of those that are wanted.
        pack_tokens: tokens that a row holds at most, if not by a single trajectory; 0 gives each
            trajectory a row of its own.
        kind: the loss.

    Returns:
        input_ids [rows, longest]; position_ids of the same shape, where rows are packed; of each
        step, in the order of the trajectories: rows and ends (where its last token is), targets
        and weights, [steps]; for ranking the pairs better and worse; and the scalars denominator
        (see `losses.denominator`) and tokens (without padding).
    """
    rows, starts = lay_out([len(data.ids[p]) for p in places], pack_tokens)
    sizes = [0] * (max(rows) + 1)
    for p, row, start in zip(places, rows, starts, strict=True):
        sizes[row] = max(sizes[row], start + len(data.ids[p]))
    ids = np.zeros((len(sizes), max(sizes)), dtype=np.int64)
    positions = np.zeros_like(ids)
    steps: dict[str, list[int]] = {"rows": [], "ends": []}
    for p, row, start in zip(places, rows, starts, strict=True):
        length = len(data.ids[p])
        ids[row, start : start + length] = data.ids[p]
        positions[row, start : start + length] = np.arange(length)
        steps["rows"] += [row] * len(data.ends[p])
        steps["ends"] += [start + end for end in data.ends[p]]
    batch = {"input_ids": torch.from_numpy(ids)}
    if pack_tokens:
        batch["position_ids"] = torch.from_numpy(positions)
    batch |= {name: torch.tensor(values) for name, values in steps.items()}
    batch |= _labels(data, places, kind)
    batch["denominator"] = losses.denominator(kind, batch)
    batch["tokens"] = torch.tensor(sum(len(data.ids[p]) for p in places))
    return batch


def _labels(data: Sequences, places: Sequence[int] | npt.NDArray[np.int64], kind: str) -> Batch:
    """Targets and weights of the steps, and their pairs where the loss compares them."""
    targets = [y for p in places for y in data.targets[p]]
    weights = [w for p in places for w in data.weights[p]]
    found = {
        "targets": torch.tensor(targets, dtype=torch.float32),
        "weights": torch.tensor(weights, dtype=torch.float32),
    }
    if kind == "ranking":
        problems = data.frame["problem_id"]
        groups = [(problems[int(p)], t) for p in places for t in range(len(data.ends[p]))]
        better, worse = losses.pairs(groups, targets)
        found |= {
            "better": torch.tensor(better, dtype=torch.long),
            "worse": torch.tensor(worse, dtype=torch.long),
        }
    return found


def lay_out(lengths: Sequence[int], max_tokens: int) -> tuple[list[int], list[int]]:
    """Where each sequence goes: its row, and its first place in that row.

    The longest first, each into the first row that has room for it (first-fit decreasing, at most
    11/9 of the fewest possible rows, Johnson 1973).

    Args:
        lengths: of the sequences, in tokens.
        max_tokens: of a row; a longer sequence has a row of its own. 0 is a row for each.
    """
    if not max_tokens:
        return list(range(len(lengths))), [0] * len(lengths)
    rows, starts = [0] * len(lengths), [0] * len(lengths)
    filled: list[int] = []
    for k in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        fits = (r for r, used in enumerate(filled) if used + lengths[k] <= max_tokens)
        row = next(fits, len(filled))
        if row == len(filled):
            filled.append(0)
        rows[k], starts[k] = row, filled[row]
        filled[row] += lengths[k]
    return rows, starts
