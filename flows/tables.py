"""The tables of the command line: the plan, the comparison of methods, a data set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

CELL_CHARACTERS = 48

Row = Mapping[str, Any]


def plan_table(rows: Iterable[Row]) -> Table:
    """What a run will do.

    Args:
        rows: with the columns stage, key, state, shards, units, unit, policy_tokens.
    """
    table = Table(title="What will run", title_justify="left")
    table.add_column("stage")
    table.add_column("key", style="dim", no_wrap=True)
    table.add_column("state")
    for name in ("shards", "units", "policy tokens (at most)"):
        table.add_column(name, justify="right")
    total = 0
    for row in rows:
        there = row["state"] == "already there"
        total += 0 if there else row["policy_tokens"]
        table.add_row(
            row["stage"],
            row["key"][:12],
            f"[green]{row['state']}[/]" if there else row["state"],
            f"{row['shards']:,}",
            f"{row['units']:,} {row['unit']}",
            f"{row['policy_tokens']:,}" if row["policy_tokens"] else "",
        )
    table.add_section()
    table.add_row("to be generated", "", "", "", "", f"{total:,}")
    return table


def comparison_table(rows: Sequence[Row]) -> Table:
    """The methods of an evaluation.

    Args:
        rows: ``figures["comparison"]`` of the evaluation's manifest; accuracies and differences
            are shares in 0..1 and are shown in percent and percentage points.
    """
    problems = f"{rows[0]['n']:,} held-out problems" if rows else "no problems"
    table = Table(title=f"Comparison on {problems}", title_justify="left")
    table.add_column("method")
    for name in (
        "accuracy (95 %)",
        "policy tokens\n/ problem",
        "QVM calls\n/ problem",
        "seconds",
        "difference to\nthe baseline (95 %)",
    ):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for row in rows:
        table.add_row(
            str(row["method"]),
            f"{_percent(row['accuracy'])} % ({_percent(row['low'])}-{_percent(row['high'])})",
            f"{row['policy_tokens']:,.0f}",
            f"{row['value_calls']:,.1f}",
            f"{row['seconds']:,.1f}",
            _difference(row),
            _verdict(str(row.get("verdict") or "")),
        )
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _difference(row: Row) -> str:
    if row.get("difference") is None:
        return ""
    low, high = row["difference_low"], row["difference_high"]
    return f"{100 * row['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _verdict(verdict: str) -> str:
    style = {"better": "green", "worse": "red"}.get(verdict)
    return f"[{style}]{verdict}[/]" if style else verdict


def summary_table(manifest: Row) -> Table:
    """What a manifest says of its data set."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    files = manifest["files"]
    size = sum(entry["bytes"] for entry in files)
    table.add_row("kind", str(manifest["kind"]))
    table.add_row("key", str(manifest["key"]))
    table.add_row("rows", f"{manifest['rows']:,}")
    table.add_row("files", f"{len(files)} ({size / 1e6:,.1f} MB)")
    table.add_row("created", str(manifest.get("created", "")))
    table.add_row("inputs", ", ".join(f"{k} {v}" for k, v in manifest["inputs"].items()) or "none")
    return table


def figures_table(figures: Row) -> Table:
    """The figures of a manifest that are no tables of their own."""
    table = Table(title="figures", title_justify="left", show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in figures.items():
        if name != "comparison":
            table.add_row(name, cell(value, 200))
    return table


def schema_table(schema: Sequence[Sequence[str]]) -> Table:
    """Columns and types."""
    table = Table(title="schema", title_justify="left", box=None, show_header=False)
    for column, kind in schema:
        table.add_row(column, f"[dim]{cell(kind, 100)}[/]")
    return table


def rows_table(rows: Sequence[Row]) -> Table:
    """The first rows of a data set, a column of the table per row of the data set."""
    table = Table(title=f"first {len(rows)} rows", title_justify="left")
    table.add_column("column", style="bold")
    for number in range(1, len(rows) + 1):
        table.add_column(f"row {number}", overflow="fold")
    for name in rows[0] if rows else ():
        table.add_row(name, *(cell(row[name]) for row in rows))
    return table


def cell(value: Any, width: int = CELL_CHARACTERS) -> str:
    """A value as short text."""
    if isinstance(value, float):
        text = f"{value:.4g}"
    elif isinstance(value, str):
        text = value.strip()
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    text = text if len(text) <= width else text[: width - 3] + "..."
    return text.replace("[", r"\[")
