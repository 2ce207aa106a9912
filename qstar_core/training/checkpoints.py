"""Checkpoints of a training that may be killed: which one to go on from.

`transformers.Trainer` writes them as folders ``checkpoint-N``, N the number of updates done, where
the store keeps unfinished work of the data set (`Store.kept`) until that is published. A file with
the SHA-256 of the others, and the versions of the packages, is put last. So one that was cut short,
was damaged later, or would go on otherwise than it began, is told from a whole one: it is removed,
and the one before is taken.

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
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import Trainer

from qstar_core import __version__
from qstar_core.precision import computes_in_bf16
from qstar_core.store.cache import sha256_of
from qstar_core.store.local import sync

log = logging.getLogger(__name__)

SEAL = "complete.json"
BEST = "best-{}.safetensors"
"""The best weights so far, by their update. A checkpoint needs those of its time."""
WEIGHTS = "model.safetensors"


PACKAGES = ("transformers", "accelerate", "peft", "trl")
"""That have a part in every update, beside torch."""


def versions() -> dict[str, str]:
    """What has to be the same for the same weights in the end, beside the configuration."""
    found = {"qstar": __version__, "torch": torch.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    bf16 = computes_in_bf16(True)
    return {**found, "device": device, "products": "bfloat16" if bf16 else "float32"}


def seal(checkpoint: Path, notes: dict[str, Any], needs: Sequence[str] = ()) -> None:
    """Declares a checkpoint complete.

    Args:
        checkpoint: its folder, all files written.
        notes: what else is to be known when training goes on from it.
        needs: names of what has to be beside it then: a file, or another sealed checkpoint.
    """
    folder = checkpoint.parent
    files = sorted(f for f in checkpoint.iterdir() if f.is_file() and f.name != SEAL)
    for file in files:
        sync(file)
    content = {
        "files": {f.name: sha256_of(f) for f in files},
        "versions": versions(),
        "needs": {n: sha256_of(f) if (f := folder / n).is_file() else None for n in needs},
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
        broken = _broken(place)
        if not broken:
            return place, _sealed(place)["notes"], remarks
        remarks.append(f"the checkpoint at update {number:,} is {broken} and was left out")
        log.warning("%s: %s", place, remarks[-1])
        shutil.rmtree(place, ignore_errors=True)
    return None, {}, remarks


def figures(newest: Path | None, remarks: Sequence[str]) -> dict[str, Any]:
    """What a training says of where it began.

    Args:
        newest: the checkpoint that it went on from.
        remarks: of `newest`.

    Returns:
        resumed_from, the updates that were done by then, and remarks, each where there are any.
    """
    begun = {} if newest is None else {"resumed_from": int(newest.name.partition("-")[2])}
    return {**begun, **({"remarks": list(remarks)} if remarks else {})}


def _all(folder: Path) -> list[tuple[int, Path]]:
    numbered = [(p.name.removeprefix("checkpoint-"), p) for p in folder.glob("checkpoint-*")]
    return [(int(number), p) for number, p in numbered if number.isdigit()]


def _sealed(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / SEAL).read_text(encoding="utf-8"))
    return found


def _broken(place: Path) -> str:
    """What is wrong with a checkpoint; empty if nothing is."""
    try:
        content = _sealed(place)
        if content["versions"] != versions():
            return "of other versions of the packages or another device"
        if any(sha256_of(place / name) != sha256 for name, sha256 in content["files"].items()):
            return "damaged"
        needed = {place.parent / name: sha256 for name, sha256 in content["needs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "incomplete"
    there = (each == place or _whole(each, sha256) for each, sha256 in needed.items())
    return "" if all(there) else "without the best weights so far"


def _whole(path: Path, sha256: str | None) -> bool:
    """Whether what a checkpoint needs is as it was: a file, or another checkpoint."""
    if sha256 is None:
        return path.is_dir() and not _broken(path)
    return path.is_file() and sha256_of(path) == sha256


def sweep(folder: Path, kept: Sequence[str]) -> None:
    """Removes best weights that no checkpoint needs any more.

    Args:
        folder: of the checkpoints of a training.
        kept: names of files that stay in any case.
    """
    needed = set(kept)
    for _, place in _all(folder):
        with suppress(OSError, ValueError, KeyError):
            needed |= set(_sealed(place)["needs"])
    for file in folder.glob(BEST.format("*")):
        if file.name not in needed:
            file.unlink(missing_ok=True)


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


class Sealed(Trainer):
    """A trainer whose checkpoints are sealed when all processes have written their part."""

    def notes(self) -> dict[str, Any]:
        """What else a checkpoint has to tell the training that goes on from it."""
        return {}

    def needs(self) -> list[str]:
        """What has to be beside a checkpoint, see `seal`."""
        return []

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            seal(folder, self.notes(), self.needs())
            sweep(folder.parent, self.needs())
