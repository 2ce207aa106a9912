"""Stored trajectories graded anew where the grader is another one than then; no token is generated.

The key of rollouts knows nothing of the grader, so a new grader finds the same rollouts. The key
of labels has its name and version, so labels are made anew, from what `regrade` gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem

COLUMNS = ("outcome", "answer", "grader", "grader_version")
"""What a grader decides of a trajectory."""


def regrade(trajectories: pl.LazyFrame, problems: Iterable[Problem]) -> pl.LazyFrame:
    """Trajectories with the outcome and answer of today's grader, in the same order.

    Rows that this grader in this version has graded stay as they are, and so do those of other
    problems.

    Args:
        trajectories: with the columns ``problem_id`` and ``steps`` of
            `qstar_core.rollouts.sample.SCHEMA`, `COLUMNS`, and any others.
        problems: of the trajectories.
    """
    known = {problem.id: problem for problem in problems}
    graders = trajectories.select("grader", "grader_version").unique().collect()
    if set(graders.iter_rows()) <= _today(known):  # then the plan stays free of Python
        return trajectories
    return trajectories.map_batches(lambda rows: _regraded(rows, known), streamable=True)


def _today(known: Mapping[str, Problem]) -> set[tuple[str, str]]:
    """Names and versions of the graders of some problems."""
    domains = {problem.domain for problem in known.values()}
    return {(DOMAINS[name].GRADER, DOMAINS[name].GRADER_VERSION) for name in domains}


def _regraded(rows: pl.DataFrame, known: Mapping[str, Problem]) -> pl.DataFrame:
    if rows.is_empty():
        return rows
    today = _today(known)
    texts = rows["steps"].list.eval(pl.element().struct.field("text"))
    graded = []
    for problem_id, steps, *stored in zip(
        rows["problem_id"], texts, *(rows[name] for name in COLUMNS), strict=True
    ):
        problem = known.get(problem_id)
        if problem is None or (stored[2], stored[3]) in today:
            graded.append(tuple(stored))
            continue
        domain = DOMAINS[problem.domain]
        grade = domain.grade(problem, list(steps))
        graded.append((str(grade.outcome), grade.answer, domain.GRADER, domain.GRADER_VERSION))
    columns = zip(COLUMNS, zip(*graded, strict=True), strict=True)
    return rows.with_columns(
        pl.Series(name, values, dtype=pl.String).cast(rows.schema[name]) for name, values in columns
    )
