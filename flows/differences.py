"""What the command line says of two data sets that were compared, and of one made again."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.provenance import print_verified
from flows.tables import COMPACT, cell, plain, say
from qstar_core.errors import UserError
from qstar_core.pipeline import ALONE
from qstar_core.provenance import rerun
from qstar_core.provenance.diff import Difference, diff
from qstar_core.provenance.manifests import folder_of, read
from qstar_core.provenance.outcome import Outcome, compare, environment_differences
from qstar_core.provenance.rerun import Rerun
from qstar_core.provenance.rows import ROW
from qstar_core.provenance.verify import check, verify
from qstar_core.store.uri import is_remote

SHOWN_REASONS = 12


def show_diff(console: Console, a: str, b: str, by: str | None) -> bool:
    """Compares two data sets; returns whether their rows are the same."""
    columns = [name.strip() for name in by.split(",") if name.strip()] if by else None
    with console.status("comparing"):
        found = diff(a, b, columns)
    print_difference(console, found)
    return found.same_rows


def print_difference(console: Console, found: Difference) -> None:
    """Counts, columns, reasons and first differences."""
    say(console, f"A  {found.a}", f"B  {found.b}", "")
    if found.same:
        say(console, f"equal, {found.equal:,} rows")
    else:
        console.print(_counts(found))
    for name, of_a, of_b in found.schema:
        say(console, f"column {name}: {of_a} in A, {of_b} in B")
    if found.left_out:
        say(console, f"not compared, because they are measured: {', '.join(found.left_out)}")
    if found.different:
        for table in (_columns(found), _reasons(found), _first(found)):
            console.print(table)
    for side, ids in zip("AB", found.first_only, strict=True):
        for row in ids:
            named = ", ".join(f"{name} {row[name]}" for name in found.by)
            say(console, f"only in {side}: {named}")


def _counts(found: Difference) -> Table:
    table = Table(**COMPACT)
    names = ("rows of A", "rows of B", "equal", "different", "only in A", "only in B", "moved")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    numbers = (*found.rows, found.equal, found.different, *found.only, found.moved)
    table.add_row(*(f"{number:,}" for number in numbers))
    return table


def _columns(found: Difference) -> Table:
    table = Table(**COMPACT)
    table.add_column("column that differs", no_wrap=True)
    for name in ("in rows", "share", "by at most"):
        table.add_column(name, justify="right", no_wrap=True)
    both = found.equal + found.different
    for name, count in found.columns.most_common():
        largest = f"{found.largest[name]:.3g}" if name in found.largest else ""
        table.add_row(plain(name), f"{count:,}", f"{count / both:.2%}", largest)
    return table


def _reasons(found: Difference) -> Table:
    table = Table(**COMPACT)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("what changed together", overflow="fold")
    for words, count in found.reasons.most_common(SHOWN_REASONS):
        table.add_row(f"{count:,}", plain(words))
    if len(found.reasons) > SHOWN_REASONS:
        table.add_row("", f"and {len(found.reasons) - SHOWN_REASONS:,} other combinations")
    return table


def _first(found: Difference) -> Table:
    table = Table(title="first differences", **COMPACT)
    for name in ("row", ", ".join(found.by), "column", "A", "B"):
        table.add_column(plain(name), overflow="fold")
    for row in found.first:
        ids = ", ".join(str(row[name]) for name in found.by)
        for name, (of_a, of_b) in row["columns"].items():
            table.add_row(f"{row[ROW]:,}", plain(ids), plain(name), *_values(of_a, of_b))
    return table


def _values(of_a: Any, of_b: Any) -> tuple[Any, Any]:
    """Both values; of nested ones only the parts that differ."""
    if isinstance(of_a, list) and isinstance(of_b, list) and len(of_a) == len(of_b):
        for number, (one, other) in enumerate(zip(of_a, of_b, strict=True)):
            if one != other:
                return cell({number: one}), cell({number: other})
    if isinstance(of_a, float) and isinstance(of_b, float):
        return plain(repr(of_a)), plain(repr(of_b))
    return cell(of_a), cell(of_b)


def reproduce(
    console: Console,
    uri: str,
    keep: str | None,
    from_inputs: bool,
    overrides: list[str] | None,
    verbose: bool,
) -> bool:
    """Makes a data set again and compares; returns whether it is equal.

    Args:
        console: to print to.
        uri: of the data set or its manifest.
        keep: folder to make it in; None is one that is removed at the end.
        from_inputs: whether to take its published inputs instead of making them again.
        overrides: ``path.to.field=value``, for files and models that lie elsewhere now.
        verbose: Prefect's log on the console too.
    """
    folder = folder_of(uri)
    if from_inputs and keep is not None and is_remote(keep):
        raise UserError("--from-inputs needs a local folder", next_step="leave --keep out")
    if not _intact(console, folder, from_inputs):
        return False
    scratch = keep or tempfile.mkdtemp(prefix="qstar-reproduce-")
    try:
        planned = rerun.prepare(folder, scratch, overrides)
        _say_environment(console, planned)
        if not _same_key(console, planned):
            return False
        if from_inputs:
            rerun.take_inputs(planned)
        _make(planned, [planned.target] if from_inputs else planned.stages, verbose)
        outcome = compare(planned)
        print_outcome(console, outcome)
        return outcome.equal
    finally:
        if keep is None:
            shutil.rmtree(scratch, ignore_errors=True)


def _intact(console: Console, folder: str, deep: bool) -> bool:
    """Whether what is to be compared, and read, is what was published; says what is not."""
    with console.status("verifying"):
        found = verify(folder, deep=True) if deep else [check(folder, read(folder), False)]
    if all(each.intact for each in found):
        return True
    print_verified(console, found)
    say(console, "Not reproduced: what is there is not what was published.")
    return False


def _say_environment(console: Console, planned: Rerun) -> None:
    for name, then, now in environment_differences(planned.manifest):
        say(console, f"Note: made with {name} {_value(then)}, here it is {_value(now)}")
    if planned.target.name in ALONE:
        say(console, "Note: its searches end with the seconds of the machine, so rows will differ")


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _same_key(console: Console, planned: Rerun) -> bool:
    """Whether the same configuration has the same key here and now; says why it has not."""
    if Path(planned.target.uri).absolute() == Path(planned.uri).absolute():
        raise UserError(
            f"--keep names the folder that {planned.uri} lies in: it would be compared with itself",
            next_step="name another folder, or leave --keep out",
        )
    differing = rerun.key_differences(planned)
    if not differing:
        return True
    said, here = planned.manifest.get("key"), planned.target.key
    say(console, f"Not reproduced: the key is {said}, its configuration gives {here} here.")
    for stage, field, then, now in differing:
        say(console, f"  {stage}: {field} was {_value(then)}, is {_value(now)}")
    if any(field == "rows_version" for _, field, _, _ in differing):
        found = planned.manifest.get("environment", {})
        commits = [each.get("commit") for each in (found if isinstance(found, list) else [found])]
        version = planned.manifest.get("code", {}).get("qstar", "then")
        which = f"git checkout {commits[0]}" if commits and commits[0] else f"qstar {version}"
        say(console, f"Next: this code shapes rows another way; use {which}")
    return False


def _make(planned: Rerun, stages: list[Any], verbose: bool) -> None:
    from flows.commands import start_prefect

    start_prefect(verbose)
    from flows.reproduce import reproduce as flow

    flow(planned.config, stages, dict(planned.rounds))


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Equal, or the first differences and the measured drift."""
    rows = outcome.rows
    if rows is not None:
        print_difference(console, rows)
    if outcome.of:
        same = outcome.of - len(outcome.files)
        say(console, f"other files: {same} of {outcome.of} equal byte for byte")
        for name in outcome.files:
            say(console, f"  {name} differs")
    if rows is not None and not rows.same:
        both = rows.equal + rows.different
        share = rows.different / both if both else 1.0
        say(console, f"Drift: {share:.2%} of {both:,} rows differ; not reproduced")
