"""What a run has cost: policy tokens and seconds of work, by stage, from the manifests alone.

Tokens are those that the policy generated. Seconds are summed over shards, which may have run side
by side, so they are seconds of workers, not of the clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]


def costs(manifests: Iterable[tuple[str, Row]], price: float | None = None) -> list[dict[str, Any]]:
    """The stages of a run with what they cost.

    Args:
        manifests: (stage, manifest) of the data sets, inputs first.
        price: of a million policy tokens, in any currency.

    Returns:
        Rows with stage, rows, shards, tokens and seconds (None where the stage does not count
        them) and price (None without one, or without tokens).
    """
    found = []
    for stage, manifest in manifests:
        figures = [shard.get("figures", {}) for shard in manifest.get("shards", ())]
        tokens, seconds = _sum(figures, "tokens"), _sum(figures, "seconds")
        paid = None if price is None or tokens is None else tokens * price / 1e6
        found.append(
            {
                "stage": stage,
                "rows": manifest.get("rows") or 0,
                "shards": len(figures),
                "tokens": tokens,
                "seconds": seconds,
                "price": paid,
            }
        )
    return found


def total(rows: Iterable[Row]) -> dict[str, Any]:
    """The sums of `costs`; None where no stage counts."""
    known = list(rows)
    return {name: _sum(known, name) for name in ("tokens", "seconds", "price")}


def _sum(rows: Iterable[Row], name: str) -> float | None:
    values = [row[name] for row in rows if isinstance(row.get(name), int | float)]
    return sum(values) if values else None
