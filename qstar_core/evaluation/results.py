"""Scored results: one row per held-out problem and search method, filtered.

The rows are those of a data set ``evaluation`` without the search trees, which are most of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from qstar_core.errors import UserError
from qstar_core.evaluation.compare import OUTCOMES, SOLVED

COLUMNS = (
    "problem_id",
    "method",
    "outcome",
    "answer",
    "reference",
    "policy_tokens",
    "value_calls",
    "expansions",
    "stop_reason",
    "reason",
    "prompt",
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which results; everything given must hold.

    Attributes:
        methods: names of methods; empty for all.
        outcomes: of grading; empty for all.
        problem: the beginning of a problem's id, or a part of its prompt; empty for all.
        only: a method: problems that it solved and no other method did; with ``lost`` it is
            enough that that one did not.
        lost: a method: problems that it did not solve, and another one did.
    """

    methods: Sequence[str] = ()
    outcomes: Sequence[str] = ()
    problem: str = ""
    only: str | None = None
    lost: str | None = None


def results(searches: pl.LazyFrame, wanted: Wanted) -> pl.DataFrame:
    """The rows of scored results that are wanted.

    Args:
        searches: of `qstar_core.evaluation.run.SCHEMA`; the trees are not read.
        wanted: which rows.

    Returns:
        The columns `COLUMNS`, and the budget of a comparison, in the order of the data set.

    Raises:
        UserError: no such method or outcome; names those that there are.
    """
    there = [name for name in (*COLUMNS, "budget") if name in searches.collect_schema()]
    rows = searches.select(there).collect()
    _check(rows, wanted)
    if chosen := [name for name in (wanted.only, wanted.lost) if name is not None]:
        rows = rows.join(_decided(rows, wanted, chosen), on="problem_id", how="semi")
    if wanted.problem:
        text = pl.col("prompt").str.contains(wanted.problem, literal=True)
        rows = rows.filter(pl.col("problem_id").str.starts_with(wanted.problem) | text)
    for column, values in (("method", wanted.methods), ("outcome", wanted.outcomes)):
        if values:
            rows = rows.filter(pl.col(column).is_in(list(values)))
    return rows


def _check(rows: pl.DataFrame, wanted: Wanted) -> None:
    methods = rows["method"].unique(maintain_order=True).to_list()
    named = [*wanted.methods, *(m for m in (wanted.only, wanted.lost) if m is not None)]
    for name in named:
        if name not in methods:
            raise UserError(f"no method {name!r} here", next_step="one of: " + ", ".join(methods))
    for outcome in wanted.outcomes:
        if outcome not in OUTCOMES:
            raise UserError(
                f"no outcome {outcome!r}", next_step="--outcome with one of: " + ", ".join(OUTCOMES)
            )


def _decided(rows: pl.DataFrame, wanted: Wanted, chosen: list[str]) -> pl.DataFrame:
    """The ids of the problems that ``only`` and ``lost`` ask for."""
    method, here = pl.col("method"), pl.col("problem_id")
    others = rows.filter(~method.is_in(chosen) & SOLVED)["problem_id"].to_list()
    solved = {
        name: rows.filter((method == name) & SOLVED)["problem_id"].to_list() for name in chosen
    }
    ids = rows.select("problem_id").unique()
    if wanted.only is not None:
        ids = ids.filter(here.is_in(solved[wanted.only]))
    if wanted.lost is not None:
        ids = ids.filter(~here.is_in(solved[wanted.lost]))
    if wanted.lost is None:
        return ids.filter(~here.is_in(others))
    return ids if wanted.only is not None else ids.filter(here.is_in(others))
