"""Why a row differs: which of its columns changed together, said in words.

A label depends on the outcome of its own trajectory, on those of the trajectories that share the
step (``n_samples``, ``successes``), on method, gamma and grader. So each of them that changed is
named, and whether the label itself did. Of other rows the columns that changed are named.
"""

from __future__ import annotations

import polars as pl

from qstar_core.provenance.rows import OTHER, ROW

SHOWN = ("outcome", "grader", "grader_version", "method", "gamma", "parameters", "policy")
"""Columns with few values: the reason has both values."""
DECLARED = {"grader", "grader_version", "method", "gamma", "parameters"}
"""Columns that say how a whole data set was made: where only they differ, nothing came of it."""
VALUE = "y"
OF_THE_POOL = {"n_samples": "another number of samples", "successes": "other outcomes in its pool"}
IMPLIED = ("success_low", "success_high")
"""Follow from the counts."""


def changed(name: str) -> pl.Expr:
    """Whether a column differs between the two data sets."""
    return pl.col(name).ne_missing(pl.col(f"{name}{OTHER}"))


def only_declared(columns: list[str]) -> pl.Expr:
    """Whether a row differs in what is declared alone.

    Args:
        columns: those that changed in some row.
    """
    others = [changed(name) for name in columns if name not in DECLARED]
    return ~pl.any_horizontal(pl.col(ROW).is_null(), *others)  # a row has a number: False


def reason(columns: list[str]) -> pl.Expr:
    """What changed in a row, in words, for example ``y: outcome wrong -> correct``.

    Args:
        columns: those that changed in some row.
    """
    parts: list[pl.Expr] = []
    for name in columns:
        if name == VALUE or (name in IMPLIED and set(OF_THE_POOL) & set(columns)):
            continue
        if name in SHOWN:
            values = (pl.col(each).cast(pl.String).fill_null("none") for each in _both(name))
            text = pl.format(f"{name} {{}} -> {{}}", *values)
        else:
            text = pl.lit(OF_THE_POOL.get(name, name))
        parts.append(pl.when(changed(name)).then(text))
    others = pl.concat_str(parts, separator=", ", ignore_nulls=True) if parts else pl.lit("")
    if VALUE not in columns:
        return others
    alone = others == ""
    value = pl.when(changed(VALUE)).then(pl.lit("y changed")).otherwise(pl.lit("y as before"))
    return pl.when(alone).then(value).otherwise(pl.format("{}: {}", value, others))


def _both(name: str) -> tuple[str, str]:
    return name, f"{name}{OTHER}"
