"""``qstar report A --against B``: what got better and worse between two runs, and whether it may be
chance; as a table, and as a report of A with a switch."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from flows.searches import searches
from flows.tables import COMPACT, difference, percent, plain, say, verdict
from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.config_file import load_config
from qstar_core.errors import UserError
from qstar_core.evaluation.against import COLUMNS, Against, changes, compare_runs, summary
from qstar_core.provenance import manifests
from qstar_core.provenance.configurations import changed, data_sets
from qstar_core.provenance.lineage import lineage
from qstar_core.store import dataset, scan

CONFIG_FILES = (".yaml", ".yml")
FIELD_CHARACTERS = 60


@dataclass(frozen=True)
class Run:
    """One of the two runs: its evaluation."""

    uri: str
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the configuration, with the first digits of the key."""
        return f"{self.manifest['config'].get('name', 'run')} {self.manifest['key'][:8]}"

    def rows(self) -> pl.DataFrame:
        """The searches without their trees."""
        return scan(self.uri).select(COLUMNS).collect()


def report_against(
    console: Console, run: str, other: str, html: str | None, overrides: Sequence[str] = ()
) -> None:
    """Compares two runs, prints the table and writes the page.

    Args:
        console: to print to.
        run: an evaluation, a report, an output folder or a configuration.
        other: the run that it is held against, likewise.
        html: where the page goes; None is ``KEY-against-KEY.html`` in this folder.
        overrides: of configurations that are given.

    Raises:
        UserError: no complete evaluation there, nothing in it to compare, or the page cannot be
            written.
    """
    mine, its = find(run, overrides), find(other, overrides)
    found = compare(mine, its)
    show(console, found)
    if not found.comparable:
        raise UserError(
            found.summary[0],
            safe="both runs; no page was written",
            next_step="compare runs of the same held-out problems and of methods of one name",
        )
    page = Path(html or f"{mine.manifest['key'][:8]}-against-{its.manifest['key'][:8]}.html")
    if not page.absolute().parent.is_dir():
        raise UserError(
            f"{page}: there is no such folder",
            next_step=f"mkdir -p {shlex.quote(str(page.parent))}",
        )
    files = write(page, mine, found)
    beside = f" and {files - 1} files beside it" if files > 1 else ""
    say(console, "", f"Page       {page}{beside}", f"Next: open {page.absolute().as_uri()}")


def find(run: str, overrides: Sequence[str] = ()) -> Run:
    """The evaluation of a run; see `report_against`.

    Raises:
        UserError: it is not there, or not complete.
    """
    if run.endswith(CONFIG_FILES):
        uri = pipeline.plan(load_config(run, list(overrides)))["evaluation"].uri
        step = f"qstar evaluate {shlex.quote(run)}"
    else:
        uri, step = searches(run), "qstar evaluate CONFIG makes one"
    manifest = dataset.read_manifest(uri)
    if manifest is None:
        raise UserError(f"{run}: no complete evaluation at {uri}", next_step=step)
    if manifest.get("kind") != "evaluation":
        raise UserError(
            f"{run} leads to a data set of kind {manifest.get('kind')}, not to an evaluation",
            next_step="name an evaluation, a report of one, an output folder or a configuration",
        )
    return Run(dataset.folder_of(uri), manifest)


def compare(mine: Run, its: Run) -> Against:
    """Everything that is said of two runs."""
    this, other = mine.rows(), its.rows()
    chosen = mine.manifest["config"]
    resamples = chosen.get("evaluation", {}).get("bootstrap_samples", 10_000)
    rows = compare_runs(this, other, chosen.get("seed", 0), resamples)
    differences = changed(mine.manifest, its.manifest)
    return Against(
        this=mine.name,
        other=its.name,
        rows=rows,
        changes=changes(this, other),
        summary=summary(rows, differences),
        differences=differences,
        stages=data_sets(lineage(mine.uri), lineage(its.uri)),
    )


def show(console: Console, found: Against) -> None:
    """Prints the table of methods, what differs, and the sentences."""
    if found.rows:
        console.print(methods_table(found))
    if found.differences:
        console.print(differences_table(found))
    anew = [row["stage"] for row in found.stages if not row["same"]]
    same = [row["stage"] for row in found.stages if row["same"]]
    say(console, f"Shared: {', '.join(same) or 'none'}; made anew: {', '.join(anew) or 'none'}")
    if found.comparable:
        say(console, *found.summary)


def methods_table(found: Against) -> Table:
    """Each method of this run against itself in the other one."""
    table = Table(title=plain(f"{found.this} against {found.other}"), **COMPACT)
    table.add_column("method", min_width=len("best-of-N"))
    for name in ("before %", "now %\n(95 %)", "won", "lost", "difference\n(95 %)", "p (Holm)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=len("significant"))
    for row in found.rows:
        table.add_row(
            plain(row["method"]),
            percent(row["other_accuracy"]),
            f"{percent(row['accuracy'])} ({percent(row['low'])}-{percent(row['high'])})",
            f"{row['better']:,}",
            f"{row['worse']:,}",
            difference(row),
            "" if row["p_value"] is None else f"{row['p_value']:.2g}",
            verdict(str(row["verdict"])),
        )
    return table


def differences_table(found: Against) -> Table:
    """The fields of the configuration that differ."""
    table = Table(title=plain("What differs"), **COMPACT)
    for name in ("field", found.other, found.this):
        table.add_column(plain(name), overflow="fold")
    for row in found.differences:
        values = (str(row[name])[:FIELD_CHARACTERS] for name in ("other", "this"))
        table.add_row(plain(row["field"]), *(plain(value) for value in values))
    return table


def write(page: Path, run: Run, found: Against) -> int:
    """Writes the report of a run with a switch to what changed; returns how many files that are.

    Raises:
        UserError: what the evaluation was made from does not lie beside it, or its configuration
            is of another version.
    """
    from qstar_core.audit.brief import label_audit
    from qstar_core.environment import as_mapping
    from qstar_core.evaluation.assemble import assemble
    from qstar_core.evaluation.report import render

    where = manifests.place(run.uri)
    if where is None:
        raise UserError(
            f"{run.uri} is a copy: its report needs what it was made from, which is not beside it",
            safe="the comparison above is complete",
            next_step="qstar report A --against B with the output folders of the runs",
        )
    try:
        stands = {**run.manifest["config"], "out": where[0]}
        config = RunConfig.model_validate_json(json.dumps(stands))
    except ValidationError as error:
        raise UserError(
            f"{run.uri} has the configuration of another version of qstar: {error}",
            safe="the comparison above is complete",
            next_step="qstar report A --against B with the version that its manifest names",
        ) from error
    inputs = {"evaluation": run.uri, **manifests.inputs(run.uri, run.manifest)}
    inputs = {name: uri for name, uri in inputs.items() if dataset.read_manifest(uri) is not None}
    data = assemble(inputs, run.manifest["key"], config)
    data = replace(
        data,
        labels=label_audit(data.lineage, config.out),
        environment=as_mapping(data.environment),
        against=found,
    )
    beside: dict[str, str] = {}
    text = render(data, beside, page.stem)
    for name, content in beside.items():
        (page.parent / name).write_text(content, encoding="utf-8")
    page.write_text(text, encoding="utf-8")
    return 1 + len(beside)
