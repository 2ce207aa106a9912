"""Columns of a table with what they mean: Arrow fields whose metadata holds a description."""

from __future__ import annotations

import pyarrow as pa

DESCRIPTION = "description"


def column(name: str, kind: pa.DataType, description: str, nullable: bool = False) -> pa.Field:
    """An Arrow field with a description.

    Args:
        name: of the column.
        kind: its type.
        description: what it is, with unit and range, in one sentence without a full stop.
        nullable: whether a value may be missing.
    """
    return pa.field(name, kind, nullable=nullable, metadata={DESCRIPTION: description})


def description(field: pa.Field) -> str:
    """What a column means; empty where its field does not say."""
    text: bytes = (field.metadata or {}).get(DESCRIPTION.encode(), b"")
    return text.decode()
