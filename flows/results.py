"""``qstar results``: the scored results of a run as a table, as JSON or as CSV.

What a model wrote may hold anything: tables go through `tables.cell`, and what is printed to a
terminal through `tables.escaped`.
"""

from __future__ import annotations

import json
import shlex
import sys
from typing import Literal

import polars as pl
from rich.console import Console
from rich.table import Table

from flows.searches import at_budget, searches
from flows.tables import COMPACT, cell, escaped, plain, say
from qstar_core.errors import UserError
from qstar_core.evaluation.results import Wanted, results
from qstar_core.store import scan

Format = Literal["table", "json", "csv"]

TABLE_ROWS = 50
SHOWN = ("problem_id", "method", "outcome", "answer", "reference", "policy_tokens", "prompt")
"""Columns of the table; JSON and CSV have all."""
WIDTHS = {"problem_id": 10, "prompt": 44, "answer": 24, "reference": 24}
NUMBERS = ("policy_tokens",)


def show_results(
    console: Console,
    run: str,
    wanted: Wanted,
    form: Format,
    limit: int | None,
    budget: float | None = None,
) -> None:
    """Prints scored results.

    Args:
        console: to print to.
        run: an evaluation, a report, or an output folder with several, of which the newest is
            taken; local or on S3.
        wanted: which rows.
        form: of the output.
        limit: rows at most; None is `TABLE_ROWS` for a table, else all; 0 is all.
        budget: one of those of a comparison; None is its largest.

    Raises:
        UserError: no scored results there, or no such method, outcome or budget.
    """
    uri = searches(run, budget)
    frame = scan(uri)
    names = frame.collect_schema().names()
    if "outcome" not in names or "method" not in names:
        raise UserError(
            f"{uri} holds no scored results",
            next_step="name a data set evaluation of qstar run, a report, or an output folder",
        )
    at = again = ""
    if "budget" in names or budget is not None:
        frame, taken, others = at_budget(frame, uri, budget)
        there = ", ".join(f"{each:g}" for each in others)
        at = f" at budget {taken:g}" + (f" (others: --budget {there})" if others else "")
        again = "" if budget is None else f" --budget {budget:g}"
    found = results(frame, wanted)
    most = (TABLE_ROWS if form == "table" else 0) if limit is None else limit
    shown = found.head(most) if most else found
    if form == "table":
        console.print(results_table(shown))
        say(console, *_closing(uri, found, len(shown), at, again))
    else:
        _write(_text(shown, form))


def results_table(rows: pl.DataFrame) -> Table:
    """Scored results, one row each."""
    table = Table(title=plain("Scored results"), **COMPACT)
    for name in SHOWN:
        right = name in NUMBERS
        table.add_column(plain(name.replace("_", "\n")), justify="right" if right else "left")
    for row in rows.select(SHOWN).iter_rows(named=True):
        cells = []
        for name in SHOWN:
            text = cell(row[name], WIDTHS.get(name, 48))
            if name == "outcome":
                text.stylize("green" if row[name] == "correct" else "red")
            cells.append(text)
        table.add_row(*cells)
    return table


def _closing(uri: str, found: pl.DataFrame, shown: int, at: str, again: str) -> list[str]:
    problems = found["problem_id"].n_unique()
    lines = [f"{len(found):,} results of {problems:,} problems{at}: {uri}"]
    if shown < len(found):
        lines[0] = f"{shown:,} of " + lines[0]
        lines.append("Next: --limit 0 shows all, --format csv writes them for other programs")
    if len(found):
        first = str(found["problem_id"][0])
        lines.append(
            f"Next: qstar explain {shlex.quote(uri)} {first[:12]}{again}   (its search tree)"
        )
    return lines


def _text(rows: pl.DataFrame, form: Format) -> str:
    if form == "csv":
        return rows.write_csv()
    return json.dumps(rows.to_dicts(), indent=1) + "\n"


def _write(text: str) -> None:
    """To standard output as it is; on a terminal without control characters that it would obey."""
    sys.stdout.write(escaped(text) if sys.stdout.isatty() else text)
