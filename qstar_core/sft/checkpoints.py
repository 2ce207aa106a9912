"""Where a training keeps what it resumes from, and which of it is whole.

The folder belongs to the data set in the making: below its ``.writing``, which publishing removes,
or for a data set on S3 in the cache, named by the key. Weights are safetensors. The optimizer's
state is a file of torch.save, which transformers reads with ``weights_only=True``; the run that
reads it has written it, under the same key.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open

from qstar_core.store import cache
from qstar_core.store.local import SCRATCH
from qstar_core.store.uri import is_remote, leaf

log = logging.getLogger(__name__)

NAMED = re.compile(r"checkpoint-(\d+)")
STATE = "trainer_state.json"
"""The file that a checkpoint gets last."""


def folder(uri: str) -> Path:
    """The folder of a data set's checkpoints; it survives the death of the process."""
    if is_remote(uri):
        found = cache.folder("training") / leaf(uri)
    else:
        found = Path(uri) / SCRATCH / "training"
    found.mkdir(parents=True, exist_ok=True)
    return found


def last_whole(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; damaged ones are removed.

    Args:
        folder: with folders ``checkpoint-N``.

    Returns:
        Its path, None where there is none.
    """
    found = [(int(m[1]), path) for path in folder.iterdir() if (m := NAMED.fullmatch(path.name))]
    for _, path in sorted(found, reverse=True):
        if is_whole(path):
            return str(path)
        log.warning("%s is damaged: training goes on from the one before, if any", path)
        shutil.rmtree(path, ignore_errors=True)
    return None


def is_whole(path: Path) -> bool:
    """Whether a checkpoint has its state and weights that are as long as their header says."""
    weights = list(path.glob("*.safetensors"))
    try:
        json.loads((path / STATE).read_text(encoding="utf-8"))
        for file in weights:
            with safe_open(file, "pt"):
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    return bool(weights)
