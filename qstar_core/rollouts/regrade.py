"""Stored trajectories graded anew where the grader is another one than then; no token is generated.

The key of rollouts knows nothing of the grader, so a new grader finds the same rollouts. The key
of labels has its name and version, so labels are made anew, from what `regrade` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem
from qstar_core.rollouts.grades import graded_many

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

    Returns:
        The trajectories; a plan that may be collected several times and grades nothing then.
    """
    today = DOMAINS[domain].GRADER, DOMAINS[domain].GRADER_VERSION
    graders = trajectories.select("grader", "grader_version").unique().collect()
    if set(graders.iter_rows()) <= {today}:
        return trajectories
    known = problems()
    return _regraded(trajectories.collect(), domain, today, known).lazy()


def _regraded(
    rows: pl.DataFrame, domain: str, today: tuple[str, str], known: Mapping[str, Problem]
) -> pl.DataFrame:
    if rows.is_empty():
        return rows
    texts = rows["steps"].list.eval(pl.element().struct.field("text"))
    grades = list(zip(*(rows[name] for name in COLUMNS), strict=True))
    pairs, places = [], []
    for place, (problem_id, steps) in enumerate(zip(rows["problem_id"], texts, strict=True)):
        problem = known.get(problem_id)
        if problem is not None and grades[place][2:] != today:
            pairs.append((problem, list(steps)))
            places.append(place)
    for place, grade in zip(places, graded_many(domain, pairs), strict=True):
        grades[place] = (str(grade.outcome), grade.answer, *today)
    columns = zip(COLUMNS, zip(*grades, strict=True), strict=True)
    return rows.with_columns(
        pl.Series(name, values, dtype=pl.String).cast(rows.schema[name]) for name, values in columns
    )
