"""The rounds of expert iteration side by side: what each method gains over the first round.

Every comparison is paired by problem. Their p-values are adjusted together (Holm), so that with
many rounds and methods a gain by chance is not taken for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from qstar_core.evaluation.compare import COSTS, SOLVED, paired, verdict
from qstar_core.evaluation.metrics import RESAMPLES, holm, wilson
from qstar_core.stage import kind_of
from qstar_core.store import dataset
from qstar_core.store.columns import column

FIRST = "first round"
"""Verdict of the rows that the others are compared with."""
COLUMNS = ("problem_id", "method", "algorithm", "outcome", *COSTS)

TABLE = pa.schema(
    [
        column("round", pa.int32(), "Round of expert iteration, from 1"),
        column("method", pa.string(), "Name of the search method"),
        column("n", pa.int32(), "Held-out problems"),
        column("correct", pa.int32(), "Problems that it solved"),
        column("accuracy", pa.float64(), "Their share"),
        column("low", pa.float64(), "Lower end of its 95 % Wilson interval"),
        column("high", pa.float64(), "Upper end"),
        column("policy_tokens", pa.float64(), "Mean policy tokens per problem"),
        column("value_calls", pa.float64(), "Mean value calls per problem"),
        column("pairs", pa.int32(), "Problems that both rounds have"),
        column("difference", pa.float64(), "To the first round, over these", True),
        column("difference_low", pa.float64(), "Lower end of its 95 % bootstrap interval", True),
        column("difference_high", pa.float64(), "Upper end", True),
        column("p_value", pa.float64(), "Of the exact McNemar test, adjusted by Holm", True),
        column("verdict", pa.string(), "better, worse, not significant; or first round"),
    ]
)


def read_rounds(inputs: Mapping[str, str]) -> list[pl.DataFrame]:
    """The searches of each round, from the folders of their evaluations, in order."""
    folders = [uri for name, uri in inputs.items() if kind_of(name) == "evaluation"]
    return [pl.scan_parquet(dataset.data_files(uri)).select(COLUMNS).collect() for uri in folders]


def compare_rounds(
    searches: Sequence[pl.DataFrame], seed: int = 0, resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """The table of rounds and methods.

    Args:
        searches: of each round, one row per method and problem; columns problem_id, method,
            outcome, policy_tokens, value_calls.
        seed: of the bootstrap; each comparison starts from it.
        resamples: bootstrap samples.

    Returns:
        Rows with the columns `TABLE`: method by method in the order of the first round, rounds in
        order. The verdict is "better" or "worse" where the 95 % bootstrap interval of the paired
        difference to the first round excludes 0 *and* the exact McNemar p-value, adjusted by Holm
        over all comparisons of the table, is below 0.05, else "not significant".
    """
    rows = []
    for method in searches[0]["method"].unique(maintain_order=True):
        parts = [each.filter(pl.col("method") == method) for each in searches]
        for number, part in enumerate(parts, 1):
            row = _own(number, str(method), part)
            if number > 1:
                row |= paired(part, parts[0], seed, resamples)
            rows.append(row)
    later = [row for row in rows if row["p_value"] is not None]
    for row, adjusted in zip(later, holm([row["p_value"] for row in later]), strict=True):
        row["p_value"] = adjusted
        row["verdict"] = verdict(adjusted, row["difference_low"], row["difference_high"])
    return rows


def _own(number: int, method: str, part: pl.DataFrame) -> dict[str, Any]:
    n, correct = len(part), int(part.select(SOLVED.sum()).item())
    low, high = wilson(correct, n)
    nothing = dict.fromkeys(("difference", "difference_low", "difference_high", "p_value"))
    return {
        "round": number,
        "method": method,
        "n": n,
        "correct": correct,
        "accuracy": correct / n,
        "low": low,
        "high": high,
        "policy_tokens": float(part["policy_tokens"].mean() or 0.0),  # type: ignore[arg-type]
        "value_calls": float(part["value_calls"].mean() or 0.0),  # type: ignore[arg-type]
        "pairs": 0,
        **nothing,
        "verdict": FIRST,
    }
