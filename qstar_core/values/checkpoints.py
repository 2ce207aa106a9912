"""Checkpoints of a training that may be killed: which one to go on from.

`transformers.Trainer` writes them as folders ``checkpoint-N``, N the number of updates done. A
file with the SHA-256 of the others is put last, so one that was cut short, or damaged later, is
told from a whole one: it is removed, and the one before is taken.

The weights are safetensors. The states of the optimizer, the schedule and the random generators
are what `Trainer` writes with ``torch.save``; it reads them with ``weights_only=True``, which
builds tensors and plain values and runs no code. They never leave the machine: no checkpoint of
this kind is published.
"""

from __future__ import annotations

import json
import logging
import platform
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

from qstar_core import __version__
from qstar_core.precision import multiplies_bf16
from qstar_core.store.cache import sha256_of
from qstar_core.store.local import sync

log = logging.getLogger(__name__)

SEAL = "complete.json"
BEST = "best.safetensors"
WEIGHTS = "model.safetensors"


def versions() -> dict[str, str]:
    """What has to be the same for the same weights in the end, beside the configuration."""
    found = {"qstar": __version__, "torch": torch.__version__}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    bf16 = "bf16" if multiplies_bf16("cuda" if torch.cuda.is_available() else "cpu") else "float32"
    return {
        **found,
        "transformers": transformers.__version__,
        "device": device,
        "products": bf16,
    }


def seal(checkpoint: Path, notes: dict[str, Any]) -> None:
    """Declares a checkpoint complete.

    Args:
        checkpoint: its folder, all files written.
        notes: what else is to be known when training goes on from it.
    """
    files = sorted(f for f in checkpoint.iterdir() if f.is_file() and f.name != SEAL)
    for file in files:
        sync(file)
    content = {
        "files": {f.name: sha256_of(f) for f in files},
        "versions": versions(),
        "notes": notes,
    }
    scratch = checkpoint / f"{SEAL}.writing"
    scratch.write_text(json.dumps(content), encoding="utf-8")
    sync(scratch)
    scratch.replace(checkpoint / SEAL)
    sync(checkpoint)


def newest(folder: Path) -> tuple[Path | None, dict[str, Any], list[str]]:
    """The checkpoint to go on from; those that are broken are removed.

    Args:
        folder: of the checkpoints of one training; need not be there.

    Returns:
        The checkpoint, None to begin anew; its notes; and a remark for each that was left out.
    """
    remarks: list[str] = []
    for number, place in sorted(_all(folder), reverse=True):
        try:
            content = json.loads((place / SEAL).read_text(encoding="utf-8"))
            broken = _broken(place, content)
        except (OSError, ValueError, KeyError, TypeError):
            broken = "incomplete"
        if not broken:
            return place, content["notes"], remarks
        remarks.append(f"the checkpoint at update {number:,} is {broken} and was left out")
        log.warning("%s: %s", place, remarks[-1])
        shutil.rmtree(place, ignore_errors=True)
    return None, {}, remarks


def _all(folder: Path) -> list[tuple[int, Path]]:
    numbered = [(p.name.removeprefix("checkpoint-"), p) for p in folder.glob("checkpoint-*")]
    return [(int(number), p) for number, p in numbered if number.isdigit()]


def _broken(place: Path, content: dict[str, Any]) -> str:
    """What is wrong with a checkpoint; empty if nothing is."""
    if content["versions"] != versions():
        return "of other versions of the packages or another device"
    for name, expected in content["files"].items():
        if sha256_of(place / name) != expected:
            return "damaged"
    best = content["notes"].get("best")
    if best is not None and not (place.parent / BEST).is_file():
        return "without the best weights so far"
    return ""


def save_weights(model: torch.nn.Module, path: Path) -> None:
    """Writes the trained parameters, whole or not at all; tied ones once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    trained = {n: p.detach().contiguous() for n, p in model.named_parameters() if p.requires_grad}
    scratch = path.with_name(f"{path.name}.writing")
    save_file(trained, scratch)
    sync(scratch)
    scratch.replace(path)


@torch.no_grad()
def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Takes back what `save_weights` wrote."""
    with safe_open(path, framework="pt") as file:
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(file.get_tensor(name))
