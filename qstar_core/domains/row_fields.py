"""Fields of a row that a user wrote: what is missing or of another type is said by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_object(row: object) -> dict[str, Any]:
    """A row as a JSON object.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(row, dict):
        raise TypeError("not a JSON object")
    return row


def text_of(row: Mapping[str, Any], *names: str) -> str:
    """The first of some fields that is there; null counts as missing, as tables have it.

    Raises:
        KeyError: there is none of them.
        TypeError: it is no text.
    """
    for name in names:
        if row.get(name) is not None:
            return as_text(row[name], name)
    raise KeyError(f"field {' or '.join(map(repr, names))} is missing")


def as_text(value: object, name: str) -> str:
    """A value that must be a text.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, got {value!r:.80}")
    return value
