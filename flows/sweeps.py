"""What the command line says of a comparison over a sweep of budgets."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.inspect import Manifest, page_of
from flows.tables import COMPACT, difference, percent, plain, say, verdict
from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.evaluation.sweep_wording import (
    OVERRAN,
    UNITS,
    amount,
    cost_per_thousand,
    overran,
    summary,
)
from qstar_core.evaluation.wording import p_value

Row = Mapping[str, Any]


def sweep_table(rows: Sequence[Row], unit: str, price: float | None = None) -> Table:
    """The methods at each budget of a sweep.

    Args:
        rows: ``figures["sweep"]`` of the manifest.
        unit: of the budgets, ``tokens`` or ``seconds``.
        price: of a million policy tokens; with one, the cost stands in the place of what was spent.
    """
    problems = f"{rows[0]['n']:,} held-out problems" if rows else "no problems"
    title = f"Equal {UNITS[unit]} per problem on {problems}"
    table = Table(title=title, **COMPACT)
    table.add_column("method", min_width=len("best-of-N"))
    spent = "policy\ntokens" if unit == "tokens" else "seconds"
    names = ("accuracy %\n(95 %)", spent if price is None else "cost per\n1,000")
    for name in (*names, "difference to\nbaseline (95 %)", "p adj."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=len("significant"))
    budget = None
    for row in rows:
        if row["budget"] != budget:
            budget = row["budget"]
            table.add_section()
            oracle = f"oracle {percent(_of_baseline(rows, budget)['oracle'])}"
            table.add_row(Text(f"at {amount(budget)}", style="bold"), Text(oracle, style="dim"))
        seconds = f"{row['seconds'] / row['n']:.3f}"
        spent = f"{row['policy_tokens']:,.0f}" if unit == "tokens" else seconds
        cost = cost_per_thousand(row, price)
        mark = "*" if overran(row, unit) else ""
        table.add_row(
            plain(row["method"]),
            f"{percent(row['accuracy'])} ({percent(row['low'])}-{percent(row['high'])})",
            mark + (spent if cost is None else f"{cost:,.3f}"),
            difference(row),
            "" if row["p_adjusted"] is None else p_value(row["p_adjusted"]),
            verdict(str(row["verdict"])),
        )
    caption = "oracle: the baseline generated a correct trajectory, whichever it returns"
    if any(overran(row, unit) for row in rows):
        caption += f"\n* {OVERRAN}: compare it at the seconds it took"
    failed = [
        f"{row['method']} at {amount(row['budget'])}: {row['failures']:,}"
        for row in rows
        if row["failures"]
    ]
    if failed:
        caption += f"\nSearches or gradings that failed: {', '.join(failed)}"
    table.caption = plain(caption)
    return table


def reach_table(rows: Sequence[Row]) -> Table:
    """How small a budget gives each method the accuracy of the baseline at each of its budgets.

    Args:
        rows: ``figures["reach"]`` of the manifest.
    """
    title = "Smallest budget with the baseline's accuracy"
    table = Table(title=title, **COMPACT)
    table.add_column("baseline at", no_wrap=True)
    table.add_column("method")
    names = ("smallest\nbudget", "accuracy\n%", "policy\ntokens", "times\nfewer\ntokens")
    for name in (*names, "difference to\nbaseline (95 %)"):
        table.add_column(name, justify="right", no_wrap=True)
    target = None
    for row in rows:
        first, target = row["target_budget"] != target, row["target_budget"]
        if first:
            table.add_section()
        figures = ["none"]
        if row["budget"] is not None:
            figures = [amount(row["budget"]), percent(row["accuracy"])]
            figures += [f"{row['policy_tokens']:,.0f}", f"{row['ratio']:.1f}", difference(row)]
        there = f"{amount(target)}: {percent(row['target'])} %" if first else ""
        table.add_row(there, plain(row["method"]), *figures)
    return table


def _of_baseline(rows: Sequence[Row], budget: float) -> Row:
    return next(r for r in rows if r["budget"] == budget and r["verdict"] == "baseline")


def show_end(
    console: Console, config: RunConfig, manifests: dict[str, Manifest], command: str
) -> None:
    """The end of a comparison: tables and conclusions of each sweep, where everything lies."""
    made = [name for name in pipeline.SWEEPS if name in manifests]
    price = config.comparison.price_per_million_tokens
    for name in made:
        figures = manifests["comparison_report"]["figures"]["sweeps"][name]
        unit = pipeline.SWEEPS[name]
        console.print(sweep_table(figures["sweep"], unit, price))
        rows = figures["sweep"], figures["reach"]
        say(console, *summary(*rows, unit), "")
    page, opening = page_of(manifests["comparison_report"])
    lines = [
        *(f"{name.capitalize():<11}{manifests[name]['uri']}" for name in made),
        f"Report     {page}",
        "",
        f"Next: {opening}",
        *(f"      qstar explain {shlex.quote(manifests[name]['uri'])} 1" for name in made),
    ]
    if price is None:
        priced = "--set comparison.price_per_million_tokens=0.5"
        lines.append(f"      {command} {priced}   (no search again)")
    say(console, *lines)
