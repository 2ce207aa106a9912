"""Which data set of a run holds the searches that are asked for, and which rows of it."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

import polars as pl

from qstar_core.errors import UserError
from qstar_core.stage import SWEEPS
from qstar_core.store import dataset, open_store
from qstar_core.store.uri import is_remote, join

STAGES = ("evaluation", *SWEEPS)
"""Stages whose data sets are searches."""
PLACE = f"{{}}/*/{dataset.MANIFEST}"


def searches(run: str, budget: float | None = None) -> str:
    """The data set with the searches of a run.

    Args:
        run: that data set, a report, or the output folder of a run. There the newest evaluation is
            taken; without one, or with a budget, the newest comparison before it: of those that
            have the budget, by tokens or by seconds.
        budget: one of those of a comparison.
    """
    manifest = dataset.read_manifest(run)
    stages = STAGES if budget is None else (*SWEEPS, "evaluation")
    if manifest is None:
        names = list(open_store(run).names())
        places = [[n for n in names if fnmatch(n, PLACE.format(stage))] for stage in stages]
        folders = (folder for there in places for folder in _newest_first(run, there))
    else:
        inputs = manifest.get("inputs", {})
        out = run.rstrip("/").rsplit("/", 2)[0]
        out = out if is_remote(run) else str(Path(run).absolute().parents[1])
        folders = (f"{out}/{stage}/{inputs[stage]}" for stage in stages if stage in inputs)
    return _fitting(folders, budget) or run


def _fitting(folders: Iterable[str], budget: float | None) -> str | None:
    """The first data set, of those that have a budget; where none has, the first of all."""
    first = None
    for folder in folders:
        if budget is None or budget in _budgets(folder):
            return folder
        first = first or folder
    return first


def _budgets(uri: str) -> list[float]:
    """The budgets of a comparison; none of an evaluation."""
    manifest = dataset.read_manifest(uri) or {}
    asked = (manifest.get("config") or {}).get("comparison") or {}
    return list(asked.get(SWEEPS.get(manifest.get("kind", ""), ""), []))


def _newest_first(run: str, manifests: list[str]) -> list[str]:
    folders = [join(run, name.removesuffix(f"/{dataset.MANIFEST}")) for name in manifests]
    made = {folder: dataset.read_manifest(folder) or {} for folder in folders}
    return sorted(folders, key=lambda folder: str(made[folder].get("created", "")), reverse=True)


def at_budget(
    frame: pl.LazyFrame, uri: str, budget: float | None
) -> tuple[pl.LazyFrame, float, list[float]]:
    """The searches of a comparison at one of its budgets; None takes the largest.

    Returns:
        The searches, their budget, and the other budgets that there are.

    Raises:
        UserError: the data set has no such budget, or none at all.
    """
    if "budget" not in frame.collect_schema():
        raise UserError(f"{uri} has one budget only", next_step="leave --budget out")
    budgets = frame.select(pl.col("budget").unique().sort()).collect()["budget"].to_list()
    chosen = budgets[-1] if budget is None else budget
    if chosen not in budgets:
        there = ", ".join(f"{each:g}" for each in budgets)
        raise UserError(f"no budget {chosen:g} in {uri}", next_step=f"one of: {there}")
    others = [each for each in budgets if each != chosen]
    return frame.filter(pl.col("budget") == chosen), chosen, others
