"""``qstar audit``: the figures of an audit as tables, as JSON, and as a page.

Prompts and actions of models may hold anything: what is printed here goes through `tables.say`,
`tables.plain` or `tables.cell`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.tables import COMPACT, cell, percent, plain, say
from qstar_core.audit.run import audit
from qstar_core.errors import UserError

Row = Mapping[str, Any]

BARS = " ▁▂▃▄▅▆▇█"
STANDARD_OUTPUT = "-"
EXAMPLE_CHARACTERS = 100


def audit_labels(
    console: Console,
    labels: str,
    json_file: str | None,
    html_file: str | None,
    problems: int,
    threshold: float,
) -> None:
    """Audits a labels data set and shows what was found.

    Args:
        console: to print to.
        labels: folder or manifest of the data set.
        json_file: where the figures are written; ``-`` prints them in the place of the tables.
        html_file: where the page is written.
        problems: so many are compared with the exact Q*.
        threshold: of near-duplicates.

    Raises:
        UserError: no labels there, or a file cannot be written.
    """
    for file in (json_file, html_file):
        if file is not None and not Path(file).absolute().parent.is_dir():
            raise UserError(
                f"{file}: there is no such folder", next_step=f"mkdir -p {Path(file).parent}"
            )
    with console.status("") as status:
        found = audit(labels, problems, threshold, lambda what: status.update(f"audit: {what}"))
    text = json.dumps(found, indent=1)
    if html_file is not None:
        from qstar_core.audit.page import render

        Path(html_file).write_text(render(found), encoding="utf-8")
    if json_file == STANDARD_OUTPUT:
        console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
        return
    if json_file is not None:
        Path(json_file).write_text(f"{text}\n", encoding="utf-8")
    show(console, found)
    files = {"Figures": json_file, "Page": html_file}
    say(console, "", *(f"{name:<11}{file}" for name, file in files.items() if file is not None))
    if html_file is None:
        say(console, f"Next: qstar audit {shlex.quote(labels)} --html audit.html   (with charts)")


def show(console: Console, found: Row) -> None:
    """Prints the tables of an audit and its warnings."""
    head = f"{found['rows']:,} labels, {found['method']}, gamma {found['gamma']:g}"
    say(console, f"{head}: {found['uri']}", "")
    console.print(steps_table(found["steps"]), "")
    console.print(checks_table(found))
    say(console, *examples(found), "")
    if found["own"]:
        console.print(own_table(found["own"]), "")
    if found["truth"]:
        console.print(truth_table(found["truth"]), "")
    for warning in found["warnings"]:
        console.print(plain("Warning: ", "bold yellow"), end="")
        say(console, f"{warning['what']}\n   Next: {warning['next']}")
    if not found["warnings"]:
        say(console, "Nothing was found against these labels.")


def steps_table(rows: Sequence[Row]) -> Table:
    """Class balance and histogram of the labels of each step.

    Args:
        rows: of `qstar_core.audit.steps.by_step`.
    """
    table = Table(title="Labels by step", **COMPACT)
    table.add_column("step", justify="right")
    for name in ("labels", "positive %\n(y > 0)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("y from 0\nto 1", no_wrap=True)
    table.add_column("share of the tenths, %", no_wrap=True)
    for row in rows:
        shares = [n / row["n"] for n in row["histogram"]]
        table.add_row(
            str(row["step"]),
            f"{row['n']:,}",
            percent(row["positive"] / row["n"]),
            "".join(BARS[bar(share)] for share in shares),
            " ".join(f"{100 * share:.0f}" if share else "." for share in shares),
        )
    return table


def bar(share: float) -> int:
    """The place of a share in 0..1 among `BARS`; only nothing at all is empty."""
    return min(len(BARS) - 1, max(1, round(share * (len(BARS) - 1)))) if share else 0


def checks_table(found: Row) -> Table:
    """Contradictions, form, duplicates and leakage: how many of how many."""
    table = Table(title="Checks", **COMPACT)
    table.add_column("what", no_wrap=True)
    table.add_column("found", justify="right", no_wrap=True)
    table.add_column("of", justify="right", no_wrap=True)
    unknown = plain("not audited", "dim")
    for name, count, of in checks(found):
        if count is None:
            table.add_row(name, unknown, "")
        else:
            table.add_row(name, plain(f"{count:,}", "yellow" if count else "green"), f"{of:,}")
    return table


def checks(found: Row) -> list[tuple[str, int | None, int]]:
    """(what, found, of how many) of each check; None where it could not be made."""
    same, form = found["conflicts"], found["format_errors"] or {}
    twice, leaked = found["duplicates"] or {}, found["leakage"] or {}
    return [
        ("actions with contradicting labels", same["conflicting"], same["actions"]),
        ("negatives of the form only", form.get("lenient"), form.get("negatives", 0)),
        ("training questions that stand twice", twice.get("questions"), leaked.get("train", 0)),
        ("test problems that are trained on", leaked.get("same"), leaked.get("test", 0)),
        ("test problems with a near-duplicate", leaked.get("near"), leaked.get("test", 0)),
    ]


def examples(found: Row) -> list[str]:
    """One line for an example of each check that found something."""
    lines = []
    for row in found["conflicts"]["examples"][:1]:
        lines.append(f"contradicting, y {row['low']:g} to {row['high']:g}: {_short(row['action'])}")
    for row in (found["format_errors"] or {"examples": []})["examples"][:1]:
        lines.append(f"form only: {_short(row['prompt'])} / {_short(row['text'])}")
    for row in (found["duplicates"] or {"examples": []})["examples"][:1]:
        lines.append(f"{row['n']} times: {_short(row['prompt'])}")
    leaked = found["leakage"] or {"same_examples": [], "near_examples": []}
    lines += [f"trained on: {_short(prompt)}" for prompt in leaked["same_examples"][:1]]
    for row in leaked["near_examples"][:1]:
        near = f"{_short(row['test'])} (test) and {_short(row['train'])} (training)"
        lines.append(f"near-duplicate, {row['jaccard']:.2f}: {near}")
    return lines


def _short(text: str) -> str:
    return cell(text, EXAMPLE_CHARACTERS).plain


def own_table(own: Row) -> Table:
    """These labels against the exact Q*, by step.

    Args:
        own: of `qstar_core.audit.own.own`.
    """
    title = f"These labels against the exact Q* on {own['problems']:,} problems"
    table = Table(title=title, **COMPACT)
    for name in (
        "step",
        "labels",
        "good\n(Q* > 0)",
        "missed\n(y = 0)",
        "missed %",
        "wrong\n(y > 0)",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("bias", "mse"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in own["steps"]:
        missed = percent(row["missed"] / row["good"]) if row["good"] else ""
        counts = [f"{row[name]:,}" for name in ("n", "good", "missed")]
        figures = [_number(row["bias"]), _number(row["mse"])]
        table.add_row(str(row["step"]), *counts, missed, f"{row['wrong']:,}", *figures)
    return table


def truth_table(truth: Row) -> Table:
    """Every method against the exact Q*.

    Args:
        truth: of `qstar_core.audit.truth.against_truth`.
    """
    title = (
        f"Methods against the exact Q* on {truth['problems']:,} problems, gamma {truth['gamma']:g}"
    )
    table = Table(title=title, **COMPACT)
    table.add_column("method", no_wrap=True)
    names = (
        "n",
        "tokens",
        "bias",
        "mse",
        "share %",
        "mse\nthere",
        "bias²\nthere",
        "variance\nthere",
    )
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    before = None
    for row in truth["rows"]:
        if row["method"] != before:
            table.add_section()
        name, before = ("" if row["method"] == before else row["method"]), row["method"]
        if "note" in row:
            table.add_row(plain(name), *[""] * 8)
            continue
        figures = [_number(row[key]) for key in ("bias", "mse")]
        share = "" if row["share"] is None else f"{100 * row['share']:.0f}"
        tokens = "" if row["tokens"] is None else f"{row['tokens']:,.0f}"
        there = [_number(row[key]) for key in ("mse_shared", "bias2", "variance")]
        table.add_row(plain(name), str(row["n"]), tokens, *figures, share, *there)
    notes = [f"{row['method']}: {row['note']}" for row in truth["rows"] if "note" in row]
    said = "there: on the share of labels whose action at least two groups of n samples hold"
    table.caption = plain("\n".join([said, *notes]))
    table.caption_justify = "left"
    return table


def _number(value: float | None) -> Text:
    return plain("" if value is None else f"{value:.4f}")
