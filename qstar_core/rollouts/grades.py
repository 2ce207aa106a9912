"""Grades of texts that this run has not sampled: what a grader cannot cope with has a grade too."""

from __future__ import annotations

from collections.abc import Sequence

from qstar_core.domains import DOMAINS
from qstar_core.grading import Grade, Outcome
from qstar_core.mdp import Problem

REASON_CHARACTERS = 200


def graded(problem: Problem, texts: Sequence[str]) -> Grade:
    """The domain's grade; what a grader cannot cope with is its error, not the text's."""
    try:
        grade: Grade = DOMAINS[problem.domain].grade(problem, texts)
    except Exception as error:  # text from elsewhere may be anything
        reason = f"{type(error).__name__}: {error}"[:REASON_CHARACTERS]
        return Grade(Outcome.GRADER_ERROR, reason=reason)
    return grade
