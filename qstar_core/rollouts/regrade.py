"""Stored trajectories graded anew where the grader is another one than then; no token is generated.

The key of rollouts knows nothing of the grader, so a new grader finds the same rollouts. The key
of labels has its name and version, so labels are made anew, from what `regrade` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem

COLUMNS = ("outcome", "answer", "grader", "grader_version")
"""What a grader decides of a trajectory."""


def regrade(
    trajectories: pl.LazyFrame, domain: str, problems: Callable[[], Mapping[str, Problem]]
) -> pl.LazyFrame:
    """Trajectories with the outcome and answer of today's grader, in the same order.

    Rows that this grader in this version has graded stay as they are, and so do those of unknown
    problems.

    Args:
        trajectories: with the columns ``problem_id`` and ``steps`` of
            `qstar_core.rollouts.sample.SCHEMA`, `COLUMNS`, and any others.
        domain: of the trajectories.
        problems: reads their problems, by id; called where something is graded.
    """
    today = DOMAINS[domain].GRADER, DOMAINS[domain].GRADER_VERSION
    graders = trajectories.select("grader", "grader_version").unique().collect()
    if set(graders.iter_rows()) <= {today}:  # then the plan stays free of Python
        return trajectories
    known = problems()
    return trajectories.map_batches(lambda rows: _regraded(rows, today, known), streamable=True)


def _regraded(
    rows: pl.DataFrame, today: tuple[str, str], known: Mapping[str, Problem]
) -> pl.DataFrame:
    if rows.is_empty():
        return rows
    texts = rows["steps"].list.eval(pl.element().struct.field("text"))
    graded = []
    for problem_id, steps, *stored in zip(
        rows["problem_id"], texts, *(rows[name] for name in COLUMNS), strict=True
    ):
        problem = known.get(problem_id)
        if problem is None or (stored[2], stored[3]) == today:
            graded.append(tuple(stored))
            continue
        grade = DOMAINS[problem.domain].grade(problem, list(steps))
        graded.append((str(grade.outcome), grade.answer, *today))
    columns = zip(COLUMNS, zip(*graded, strict=True), strict=True)
    return rows.with_columns(
        pl.Series(name, values, dtype=pl.String).cast(rows.schema[name]) for name, values in columns
    )
