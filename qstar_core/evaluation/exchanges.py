"""The Arrow type of the record that replays a search, as `qstar_core.search.record` writes it."""

from __future__ import annotations

import pyarrow as pa

_SPENT = [pa.field(name, pa.int64()) for name in ("policy_tokens", "value_calls", "expansions")]
_SECONDS = pa.field("seconds", pa.float64())  # null where they have no limit
REQUEST = pa.struct(
    [
        pa.field("kind", pa.string()),
        pa.field("node", pa.int32()),
        pa.field("asked", pa.int32()),
        pa.field("answers", pa.list_(pa.int32())),
        pa.field("values", pa.list_(pa.float64())),
        pa.field("spent", pa.list_(pa.int64())),
    ]
)
"""What was asked in the state of a node; ``kind`` is propose, score, prm or rollout."""
ROUND = pa.struct(
    [*_SPENT, _SECONDS, pa.field("over", pa.bool_()), pa.field("requests", pa.list_(REQUEST))]
)
"""Requests that were answered together, with what was spent by then."""
UNUSED = pa.struct(
    [
        pa.field("node", pa.int32()),
        pa.field("parent", pa.int32()),
        pa.field("text", pa.string()),
        pa.field("logprob", pa.float64()),
        pa.field("step_tokens", pa.int32()),
        pa.field("ended", pa.bool_()),
    ]
)
"""A sampled step that is no node; its number goes on after those of the nodes."""
EXCHANGES = pa.struct(
    [
        pa.field("budget", pa.struct([*_SPENT, _SECONDS])),
        pa.field("rounds", pa.list_(ROUND)),
        pa.field("unused", pa.list_(UNUSED)),
    ]
)
