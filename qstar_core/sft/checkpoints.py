"""Which checkpoint a training resumes from: the newest that is whole.

They lie where the store keeps unfinished work of the data set (`Store.kept`), until it is
published. Weights are safetensors. The optimizer's state is a file of torch.save, which
transformers reads with ``weights_only=True``; the run that reads it has written it, under the same
key.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open

log = logging.getLogger(__name__)

NAMED = re.compile(r"checkpoint-(\d+)")
STATE = "trainer_state.json"
"""The file that a checkpoint gets last."""


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
