"""Rows that come one by one in any order, kept small and put in their order at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

BATCH_ROWS = 256  # rows held as Python objects at most, which take ten times the room


class Rows:
    """Collects the rows of a table.

    Args:
        schema: of the rows.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._places: list[int] = []
        self._rows: list[dict[str, Any]] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, place: int, row: dict[str, Any]) -> None:
        """Takes a row; ``place`` says where it stands in the table, each place once."""
        self._places.append(place)
        self._rows.append(row)
        if len(self._rows) >= BATCH_ROWS:
            self._pack()

    def _pack(self) -> None:
        self._batches.append(pa.RecordBatch.from_pylist(self._rows, schema=self.schema))
        self._rows = []

    def table(self) -> pa.Table:
        """All rows in the order of their places, in one chunk; the collection is empty after."""
        self._pack()
        found = pa.Table.from_batches(self._batches, schema=self.schema)
        order = np.argsort(np.array(self._places, dtype=np.int64), kind="stable")
        self._places, self._batches = [], []
        return found.take(pa.array(order)).combine_chunks()
