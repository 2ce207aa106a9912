"""The tables of the command line: the plan, the comparison of methods, a data set.

Whatever a configuration or a data set says goes through `plain` or `cell`, everything printed
beside the tables through `say`: it is shown as it is and neither markup nor a terminal obeys it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qstar_core.rollouts.figures import drift_in_words
from qstar_core.values.side_by_side import KINDS

CELL_CHARACTERS = 48
COMPACT: dict[str, Any] = {
    "title_justify": "left",
    "box": SIMPLE_HEAD,
    "padding": (0, 1, 0, 0),
    "pad_edge": False,
    "show_edge": False,
}

Row = Mapping[str, Any]
SECONDS_PER_HOUR = 3600


def plan_table(
    rows: Iterable[Row], tokens_per_second: float | None = None, *, keys: bool = True
) -> Table:
    """What a run will do.

    Args:
        rows: with the columns stage, key, state, shards, units, unit, policy_tokens.
        tokens_per_second: that one GPU is assumed to generate; None shows no GPU hours.
        keys: whether the keys are known.
    """

    def hours(tokens: int) -> list[str]:
        if tokens_per_second is None:
            return []
        return [f"{tokens / tokens_per_second / SECONDS_PER_HOUR:,.1f}" if tokens else ""]

    table = Table(title="Plan", **COMPACT)
    table.add_column("stage", no_wrap=True)
    if keys:
        table.add_column("key", style="dim", no_wrap=True)
    table.add_column("state", no_wrap=True)
    measured = ["GPU\nhours"] if tokens_per_second is not None else []
    for name in ("shards", "units", "policy\ntokens <=", *measured):
        table.add_column(name, justify="right", no_wrap=name != "units")
    total = 0
    for row in rows:
        there = row["state"] == "already there"
        total += 0 if there else row["policy_tokens"]
        table.add_row(
            plain(row["stage"]),
            *([plain(row["key"][:8])] if keys else []),
            plain(row["state"], "green" if there else ""),
            f"{row['shards']:,}",
            plain(f"{row['units']:,} {row['unit']}"),
            f"{row['policy_tokens']:,}" if row["policy_tokens"] else "",
            *hours(row["policy_tokens"]),
        )
    table.add_section()
    table.add_row(*([""] * (1 + keys)), "to generate", "", "", f"{total:,}", *hours(total))
    if tokens_per_second is not None:
        table.caption = (
            f"GPU hours: generating alone, at {tokens_per_second:,g} tokens per second and GPU, "
            "which runtime.tokens_per_second assumes; training and scoring come on top."
        )
    return table


def comparison_table(rows: Sequence[Row]) -> Table:
    """The methods of an evaluation.

    Args:
        rows: ``figures["comparison"]`` of the evaluation's manifest; accuracies and differences
            are shares in 0..1 and are shown in percent and percentage points.
    """
    problems = f"{rows[0]['n']:,} held-out problems" if rows else "no problems"
    title = f"Comparison on {problems}; tokens and calls per problem"
    table = Table(title=title, **COMPACT)
    table.add_column("method", min_width=len("best-of-N"))
    for name in (
        "accuracy %\n(95 %)",
        "policy\ntokens",
        "value\ncalls",
        "s",
        "difference to\nbaseline (95 %)",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=len("significant"))
    for row in rows:
        table.add_row(
            plain(row["method"]),
            f"{percent(row['accuracy'])} ({percent(row['low'])}-{percent(row['high'])})",
            f"{row['policy_tokens']:,.0f}",
            f"{row['value_calls']:,.0f}",
            f"{row['seconds']:,.0f}",
            difference(row),
            verdict(str(row.get("verdict") or "")),
        )
    failed = [f"{row['method']} {row['failures']:,}" for row in rows if row.get("failures")]
    if failed:
        table.caption = plain(f"Searches or gradings that failed: {', '.join(failed)}")
    return table


def rounds_table(rows: Sequence[Row]) -> Table:
    """The rounds of expert iteration side by side.

    Args:
        rows: ``figures["rounds"]`` of the data set of that name; shares are in 0..1.
    """
    problems = f"{rows[0]['n']:,} held-out problems" if rows else "no problems"
    table = Table(title=f"Rounds of expert iteration on {problems}", **COMPACT)
    table.add_column("method", min_width=len("best-of-N"))
    for name in ("round", "accuracy %\n(95 %)", "policy\ntokens", "difference to\nround 1 (95 %)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("p (Holm)", justify="right")
    table.add_column("verdict", min_width=len("significant"))
    for row in rows:
        first = row["round"] == 1
        table.add_row(
            plain(row["method"]) if first else "",
            str(row["round"]),
            f"{percent(row['accuracy'])} ({percent(row['low'])}-{percent(row['high'])})",
            f"{row['policy_tokens']:,.0f}",
            difference(row),
            "" if row["p_value"] is None else f"{row['p_value']:.2g}",
            "" if first else verdict(str(row["verdict"])),
            end_section=row["round"] == max(each["round"] for each in rows),
        )
    return table


def percent(share: float) -> str:
    """A share in 0..1 in percent."""
    return f"{100 * share:.1f}"


def difference(row: Row) -> str:
    """A row's difference to the baseline with its interval, in percentage points."""
    if row.get("difference") is None:
        return ""
    low, high = row["difference_low"], row["difference_high"]
    return f"{100 * row['difference']:+.1f} ({100 * low:.1f}, {100 * high:.1f})"


def verdict(said: str) -> Text:
    """A verdict in its colour."""
    return plain(said, {"better": "green", "worse": "red"}.get(said, ""))


def summary_table(manifest: Row) -> Table:
    """What a manifest says of its data set."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    files = manifest["files"]
    size = sum(entry["bytes"] for entry in files)
    table.add_row("kind", plain(kind_in_words(manifest)))
    table.add_row("key", plain(manifest["key"]))
    table.add_row("rows", f"{manifest['rows']:,}")
    table.add_row("files", f"{len(files)} ({size / 1e6:,.1f} MB)")
    table.add_row("created", plain(manifest.get("created", "")))
    inputs = ", ".join(f"{k} {v}" for k, v in manifest["inputs"].items())
    table.add_row("inputs", plain(inputs or "none"))
    return table


def kind_in_words(manifest: Row) -> str:
    """The kind of a data set; of which kind a pool is, and of which round labels are."""
    made_from = manifest.get("rows_from", {})
    if manifest["kind"] == "pool":
        return f"pool of kind {made_from.get('kind')}"
    if "round" in made_from:
        return f"{manifest['kind']}, round {made_from['round']} of fitted Q iteration"
    return str(manifest["kind"])


def figures_tables(figures: Row, kind: str = "") -> list[Table]:
    """The figures of a manifest: single ones in one table, lists of rows in one each.

    Args:
        figures: of the manifest.
        kind: of the data set.
    """
    single = Table(title="figures", title_justify="left", show_header=False, box=None)
    single.add_column(style="bold")
    single.add_column(overflow="fold")
    tables = [single]
    own: tuple[str, ...] = ()
    if kind in KINDS:
        from flows.value_models import NAMED, model_tables

        own = NAMED
        tables += model_tables(figures)
    if kind == "adaptive":
        from flows import adaptive

        own = adaptive.NAMED
        tables += adaptive.adaptive_tables(figures)
    for name, value in figures.items():
        if name in own:
            continue
        if name == "comparison":
            tables.append(comparison_table(value))
        elif name == "rounds" and kind == "rounds":
            tables.append(rounds_table(value))
        elif name == "sweeps":
            tables += [table for of, its in value.items() for table in figures_tables(its, of)]
        elif name == "sweep":
            from flows.sweeps import sweep_table
            from qstar_core.stage import SWEEPS

            tables.append(sweep_table(value, SWEEPS[kind]))
        elif name == "reach":
            from flows.sweeps import reach_table

            tables.append(reach_table(value))
        elif isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            tables.append(_list_table(name, value))
        elif name == "drift":
            single.add_row(name, plain(drift_in_words(figures)))
        else:
            single.add_row(plain(name), cell(value, 200))
    return tables if single.row_count else tables[1:]


def _list_table(name: str, rows: Sequence[Row]) -> Table:
    table = Table(title=plain(name), **COMPACT)
    for column in rows[0]:
        table.add_column(plain(column))
    for row in rows:
        table.add_row(*(cell(row.get(column)) for column in rows[0]))
    return table


def schema_table(schema: Sequence[Sequence[str]]) -> Table:
    """Columns and types."""
    table = Table(title="schema", title_justify="left", box=None, show_header=False)
    table.add_column()
    table.add_column(style="dim")
    for column, kind in schema:
        table.add_row(plain(column), cell(kind, 100))
    return table


def rows_table(rows: Sequence[Row]) -> Table:
    """The first rows of a data set, a column of the table per row of the data set."""
    table = Table(title=f"first {len(rows)} rows", title_justify="left")
    table.add_column("column", style="bold")
    for number in range(1, len(rows) + 1):
        table.add_column(f"row {number}", overflow="fold")
    for name in rows[0] if rows else ():
        table.add_row(plain(name), *(cell(row[name]) for row in rows))
    return table


def cell(value: Any, width: int = CELL_CHARACTERS) -> Text:
    """A value as short text; control characters and markup are shown, not obeyed."""
    if value is None:
        text = ""
    elif isinstance(value, float):
        text = f"{value:.4g}"
    elif isinstance(value, str):
        text = value.strip()
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    text = escaped(text)
    return Text(text if len(text) <= width else text[: width - 3] + "...")


def plain(value: Any, style: str = "") -> Text:
    """A name or a sentence in full; control characters and markup are shown, not obeyed."""
    return Text(escaped(str(value)), style=style)


def say(console: Console, *lines: str) -> None:
    """Prints lines as they are, however long; control characters are shown, not obeyed."""
    text = escaped("\n".join(lines))
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


def escaped(text: str) -> str:
    """The text with its control characters, but not its newlines, as escape sequences."""
    return "".join(c if c == "\n" or c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
