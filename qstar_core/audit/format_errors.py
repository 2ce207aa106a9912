"""Negatives of the form: wrong for the strict grader, right for one that looks past the form.

Such a trajectory planned well and is labelled as if it had planned badly. A few are noise; many
teach the Q-value model to score the form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from qstar_core.grading import Outcome
from qstar_core.mdp import Problem
from qstar_core.rollouts.regrade import COLUMNS, regrade

EXAMPLES = 3
NEGATIVE = [str(Outcome.WRONG), str(Outcome.NO_ANSWER)]
"""Outcomes of trajectories that were graded and not found right."""
READ = ("problem_id", "steps", "n_steps")

Row = dict[str, Any]
Lenient = Callable[[Problem, Sequence[str]], bool]


def format_errors(
    files: Sequence[str], domain: str, problems: Mapping[str, Problem], lenient: Lenient
) -> Row:
    """Counts the trajectories that only their form makes wrong.

    Args:
        files: Parquet files of a rollouts data set.
        domain: of the problems; its grader of today says which are wrong (`regrade`).
        problems: by id; rollouts of other problems are passed over.
        lenient: of the domain; asked once per distinct trajectory.

    Returns:
        ``negatives`` (trajectories graded wrong or without an answer), ``lenient`` ones among them,
        the ``steps`` these have, and ``examples`` (prompt, text).
    """
    negatives = found = steps = 0
    examples: list[Row] = []
    for file in files:
        rows = pl.scan_parquet(file).select(*READ, *COLUMNS)
        graded = regrade(rows, domain, lambda: problems)
        for problem_id, texts, count in _distinct(graded).iter_rows():
            problem = problems.get(problem_id)
            if problem is None:
                continue
            negatives += count
            if lenient(problem, texts):
                found += count
                steps += count * len(texts)
                if len(examples) < EXAMPLES:
                    examples.append({"prompt": problem.prompt, "text": "".join(texts)})
    return {"negatives": negatives, "lenient": found, "steps": steps, "examples": examples}


def _distinct(rollouts: pl.LazyFrame) -> pl.DataFrame:
    """The distinct negative trajectories of some: problem_id, texts, and how often they came."""
    texts = pl.col("steps").list.eval(pl.element().struct.field("text"))
    return (
        rollouts.filter(pl.col("outcome").cast(pl.String).is_in(NEGATIVE), pl.col("n_steps") > 0)
        .select(
            pl.col("problem_id").cast(pl.String),
            texts=texts,
            end=pl.col("steps").list.last().struct.field("action_id"),
        )
        .group_by("end", maintain_order=True)
        .agg(pl.col("problem_id").first(), pl.col("texts").first(), n=pl.len())
        .select("problem_id", "texts", "n")
        .collect()
    )
