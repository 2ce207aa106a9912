from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.evaluation import collect
from qstar_core.evaluation.collect import Rows

NODE = pa.struct([pa.field("text", pa.string()), pa.field("q", pa.float64())])
SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("nodes", pa.list_(NODE), nullable=False),
    ]
)
NUMBERS = st.none() | st.floats(0, 1)
ROWS = st.fixed_dictionaries(
    {
        "name": st.text(max_size=5),
        "score": NUMBERS,
        "nodes": st.lists(st.fixed_dictionaries({"text": st.text(max_size=3), "q": NUMBERS})),
    }
)


@given(rows=st.lists(ROWS, max_size=12), size=st.integers(1, 5), shuffle=st.randoms())
def test_rows_come_in_any_order(rows: list[dict[str, Any]], size: int, shuffle: Any) -> None:
    numbered = list(enumerate(rows))
    shuffle.shuffle(numbered)
    collected = Rows(SCHEMA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "BATCH_ROWS", size)
        for place, row in numbered:
            collected.add(place, row)
            assert len(collected._rows) < size
        table = collected.table()
    expected = pa.Table.from_pylist(rows, schema=SCHEMA)
    assert table.schema == SCHEMA
    assert table.equals(expected)
    assert all(column.num_chunks <= 1 for column in table.columns)
