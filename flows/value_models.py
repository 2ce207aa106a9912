"""What the command line says of Q-value models: the figures of one, and several side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.inspect import folder_named, manifest_of
from flows.tables import COMPACT, cell, percent, plain, say
from qstar_core.errors import UserError
from qstar_core.provenance import manifests
from qstar_core.stage import kind_of
from qstar_core.values.side_by_side import FIGURES, KINDS, STEPS, means, model_row

Row = Mapping[str, Any]

WIDTH = 118
"""Columns of the table of several models; a narrower console wraps its lines."""
NAMED = (
    "calibration",
    "heldout",
    "overall",
    "regret",
    "reliability",
    "reliability_before",
    "by_domain",
    "regret_by_domain",
)
"""Figures that have tables of their own."""


def model_tables(figures: Row) -> list[Table]:
    """The tables of one model.

    Args:
        figures: of its manifest.
    """
    if not figures.get("heldout"):
        return []
    found = [steps_table(figures)]
    if figures.get("regret"):
        found.append(regret_table(figures["regret"]))
    if figures.get("reliability"):
        found.append(reliability_table(figures["reliability"]))
    for row in figures.get("by_domain", []):
        if row["step"] == "all":
            found.append(_domain_table(row["domain"], figures))
    return found


def steps_table(figures: Row, title: str = "Held-out steps") -> Table:
    """Ranking, accuracy and calibration by step.

    Args:
        figures: ``heldout``, and where there are any ``overall`` and ``calibration``.
        title: of the table.
    """
    table = Table(title=plain(title), **COMPACT)
    table.add_column("step", no_wrap=True)
    names = ("steps", "AUC, Q*\n(95 %)", "AUC,\nlabels", "Brier", "calib. error\n(95 %)")
    for name in (*names, "before", "rank\ncorr."):
        table.add_column(name, justify="right", no_wrap=True)
    overall = [figures["overall"]] if "overall" in figures else []
    for row in [*figures["heldout"], *overall]:
        table.add_row(
            plain(row["step"]),
            f"{row['n']:,}",
            interval(row, "auc_truth"),
            short(row["auc_label"]),
            short(row["brier"]),
            interval(row, "ece"),
            short(row.get("ece_before")),
            short(row.get("spearman_label")),
        )
    if "calibration" in figures:
        table.caption = plain(calibration_in_words(figures["calibration"]))
        table.caption_justify = "left"
    return table


def calibration_in_words(told: Row) -> str:
    """How a model was calibrated, and on how many problems it was measured."""
    on = f"measured on {told['problems']:,} held-out problems"
    if told["method"] == "none":
        return f"no calibration; {on}"
    if told["skipped"]:
        return f"no calibration: {told['skipped']}; {on}"
    shift = f", shift {told['shift']:.3f}" if told["method"] == "platt" else ""
    return (
        f"{told['method']}: T = {told['temperature']:.3f}{shift}, fitted on "
        f"{told['problems_fitted']:,} held-out problems, {on} apart from them"
    )


def regret_table(rows: Sequence[Row]) -> Table:
    """What the choice of the largest Q among siblings loses, by step.

    Args:
        rows: of `qstar_core.values.measuring.regret_by_step`; against the exact Q* if it is known.
    """
    exact = any(row["truth"] is not None for row in rows)
    against = "the exact Q*" if exact else "the labels"
    table = Table(title=f"Choice among siblings, against {against}", **COMPACT)
    table.add_column("choice", no_wrap=True)
    names = ("states", "regret\n(95 %)", "at\nrandom", "best\nchosen %", "rank\ncorr.")
    for name in (*names, "one\nstep", "all\nequal"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        its = row["truth"] if exact else row
        table.add_row(
            plain(row["step"]),
            f"{its['states']:,}",
            interval(its, "regret"),
            short(its["regret_random"]),
            "-" if its["best"] is None else percent(its["best"]),
            short(its["spearman"]),
            f"{its['single']:,}",
            f"{its['equal']:,}",
        )
    table.caption = plain("states with one step, or with steps all worth the same, are left out")
    table.caption_justify = "left"
    return table


def reliability_table(rows: Sequence[Row]) -> Table:
    """The reliability curve: mean label of the predictions in each bin."""
    table = Table(title="Reliability", **COMPACT)
    for name in ("Q", "steps", "mean Q", "mean label"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        edges = f"{row['low']:.1f}-{row['high']:.1f}"
        table.add_row(edges, f"{row['n']:,}", short(row["mean_q"]), short(row["rate"]))
    return table


def _domain_table(name: str, figures: Row) -> Table:
    rows = [row for row in figures["by_domain"] if row["domain"] == name]
    return steps_table({"heldout": rows}, f"Held-out steps of {name}")


def interval(row: Row, name: str) -> str:
    """A figure with its interval; a dash where it is undefined."""
    bounds = (row.get("intervals") or {}).get(name)
    told = short(row[name])
    if row[name] is None or bounds is None:
        return told
    return f"{told} ({short(bounds[0])}-{short(bounds[1])})"


def short(value: float | None) -> str:
    """A figure in [-1, 1] with three decimals and no leading zero; a dash where it is undefined."""
    if value is None:
        return "-"
    text = f"{value:.3f}"
    return text if abs(float(text)) >= 1 else text.replace("0.", ".", 1)


def show_models(console: Console, uris: Sequence[str], as_json: bool) -> None:
    """Prints Q-value models side by side, a row each, and the means over seeds.

    Args:
        console: to print to.
        uris: folders or manifests of data sets of kind qvm.
        as_json: print ``{"models": rows, "means": rows}`` instead, the rows with all figures.

    Raises:
        UserError: one of them is no Q-value model, or not there.
    """
    rows, figures = [], []
    for uri in uris:
        folder = folder_named(uri)
        manifest = manifest_of(folder)
        if manifest["kind"] not in KINDS:
            raise UserError(
                f"{uri} is of kind {manifest['kind']}: value models alone are shown side by side",
                next_step=f"qstar show {uri}   or qstar diff A B for the rows of two data sets",
            )
        rows.append({**model_row(manifest, _labels_of(folder, manifest)), "uri": folder})
        figures.append(manifest["figures"])
    averages = means(rows)
    if as_json:
        full = [{**row, "figures": own} for row, own in zip(rows, figures, strict=True)]
        text = json.dumps({"models": full, "means": averages}, indent=1)
        console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
        return
    before, console.width = console.width, max(console.width, WIDTH)
    console.print(models_table(rows, averages))
    console.width = before
    if any(row["auc_first"] is not None and row["regret_first"] is None for row in rows):
        say(console, "-: not measured when this model was trained; train it again to have it.")


def _labels_of(folder: str, manifest: Row) -> Row | None:
    """The manifest of a model's labels, if they lie beside it."""
    for name, uri in manifests.inputs(folder, dict(manifest)).items():
        if kind_of(name) in ("labels", "annotations"):
            try:
                return manifests.read(uri)
            except UserError:
                return None
    return None


def models_table(rows: Sequence[Row], averages: Sequence[Row]) -> Table:
    """Several models, a row each, and below them the means over seeds.

    Args:
        rows: of `model_row`.
        averages: of `means`.
    """
    against = sorted({row["against"] for row in rows})
    table = Table(title="Q-value models on their held-out problems", **COMPACT)
    table.add_column("model", no_wrap=True)
    table.add_column("loss", no_wrap=True)
    table.add_column("labels", min_width=len("best_of_rollouts"), overflow="fold")
    for name in ("seed", "updates"):
        table.add_column(name, justify="right", no_wrap=True)
    heads = [*(f"AUC\n{step}" for step in STEPS), "Brier", "ECE\nbefore", "ECE"]
    for name in (*heads, *(f"regret\n{step}" for step in STEPS)):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        updates = "" if row["updates"] is None else f"{row['updates']:,}"
        head = plain(row["key"][:8]), cell(row["loss"]), plain(_labels(row)), str(row["seed"])
        table.add_row(*head, updates, *(short(row[name]) for name in FIGURES))
    for row in averages:
        table.add_section()
        head = plain("mean"), cell(row["loss"]), plain(_labels(row)), f"{row['models']} x"
        table.add_row(*head, "", *(short(row[name]) for name in FIGURES))
        spread = (short(row["sd"][name]) for name in FIGURES)
        table.add_row("  sd", "", "", "", "", *spread, style="dim")
    table.caption = plain(
        f"AUC and regret (of the largest Q among siblings) against {' or '.join(against)}; Brier "
        "score and\ncalibration error (ECE, before and after calibration) of all steps, against "
        "the labels"
    )
    table.caption_justify = "left"
    return table


def _labels(row: Row) -> str:
    gamma = row["gamma"]
    return str(row["labels"]) + ("" if gamma == 1 else f" (gamma {gamma:g})")
