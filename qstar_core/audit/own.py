"""The audited labels themselves, step by step, against the exact Q*.

`qstar_core.audit.truth` compares methods on the samples that are at hand; here are the labels as
they were published, whatever made them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from qstar_core.audit.truth import exact
from qstar_core.mdp import Problem

Row = dict[str, Any]


def own(files: Sequence[str], problems: Mapping[str, Problem], limit: int, gamma: float) -> Row:
    """Labels against exact values, over label rows.

    Args:
        files: of the labels.
        problems: by id; of a domain with ``q_star``.
        limit: so many of them are compared, those with the smallest ids, which are hashes.
        gamma: discount of the labels.

    Returns:
        ``problems`` that are compared and have labels, and ``steps``: for each step index its
        ``step``, ``n`` labels, ``good`` (those with Q* > 0), ``missed`` (of these, with y <= 0),
        ``wrong`` (y > 0 where Q* = 0), ``bias`` (mean of y - Q*) and ``mse``.
    """
    chosen = sorted(problems)[:limit]
    columns = ("problem_id", "rollout_id", "action_id", "action")
    rows = (
        pl.scan_parquet(list(files))
        .select(pl.col(*columns).cast(pl.String), "step_index", "y")
        .filter(pl.col("problem_id").is_in(chosen))
        .collect(engine="streaming")
    )
    paths = (
        rows.sort("rollout_id", "step_index")
        .group_by("rollout_id", maintain_order=True)
        .agg(
            pl.col("problem_id").first(),
            steps=pl.struct("action_id", text="action"),
            n_steps=pl.len(),
        )
    )
    truth = exact(paths, problems, gamma)
    y, q = pl.col("y"), pl.col("q")
    steps = (
        rows.join(truth, on="action_id")
        .group_by(step="step_index")
        .agg(
            n=pl.len(),
            good=(q > 0).sum(),
            missed=((q > 0) & (y <= 0)).sum(),
            wrong=((q <= 0) & (y > 0)).sum(),
            bias=(y - q).mean(),
            mse=(y - q).pow(2).mean(),
        )
        .sort("step")
    )
    return {"problems": rows["problem_id"].n_unique(), "steps": steps.to_dicts()}
