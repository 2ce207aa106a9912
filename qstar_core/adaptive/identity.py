"""What tells the models of AdaReasoner apart, without loading them; without torch."""

from __future__ import annotations

from pathlib import Path

from qstar_core.keys import content_id
from qstar_core.policies.identity import fingerprint

EMBEDDING_VERSION = 1
"""Raised when equal texts and weights would give other embeddings."""


def encoder_fingerprint(folder: Path) -> str:
    """Of the embeddings that a checkpoint makes."""
    return content_id("embedding", EMBEDDING_VERSION, fingerprint(folder, "float64"))


def reward_model_fingerprint(folder: Path) -> str:
    """Of the rewards that a sequence classifier gives."""
    return content_id("reward_model", fingerprint(folder, "float64"))
