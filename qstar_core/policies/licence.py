"""The licence that a checkpoint says it is under."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

CARD = "README.md"
TELLING = (CARD, "manifest.json")
"""Files of a checkpoint that say its licence besides config.json; none can change a sample."""


def licence_of(folder: Path) -> str | None:
    """The licence of a checkpoint, None where nothing says it.

    Looked for, in this order: ``licence`` in the manifest of one that qstar has published,
    ``license`` in the metadata of its model card (``license_name`` where that is ``other``),
    ``license`` in its config.json.

    Args:
        folder: the checkpoint; a card or manifest that cannot be read says nothing.
    """
    card = _metadata(folder / CARD)
    found = (
        _json(folder / "manifest.json").get("licence"),
        card.get("license_name") if card.get("license") == "other" else None,
        card.get("license"),
        _json(folder / "config.json").get("license"),
    )
    return next((said for said in found if isinstance(said, str) and said), None)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _metadata(card: Path) -> dict[str, Any]:
    """The YAML block between two lines ``---`` at the beginning of a card."""
    try:
        parts = card.read_text(encoding="utf-8").split("---\n", 2)
        content = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
