"""Content hashes: ids of rows, run keys of data sets, seeds of samples.

Every id is the first 24 hexadecimal digits (96 bits) of the SHA-256 of canonical JSON, so it
depends on what a thing is, never on where it stands.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

ID_DIGITS = 24
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; floats as Python prints them; NaN is refused."""
    return _ENCODER.encode(value)


def content_id(*parts: Any) -> str:
    """The id of a JSON-serialisable value."""
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:ID_DIGITS]


def fraction(*parts: Any) -> float:
    """A number in [0, 1) that depends on a JSON-serialisable value alone, for choices by hash."""
    return int(content_id(*parts)[:12], 16) / 16.0**12


def sample_seed(run_seed: int, row_id: str, index: int) -> int:
    """The 63-bit seed of one sample, from (run seed, row id, sample index) and nothing else."""
    digest = hashlib.sha256(canonical_json([run_seed, row_id, index]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
