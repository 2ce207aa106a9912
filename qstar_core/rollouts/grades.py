"""Grades of texts that this run has not sampled: what a grader cannot cope with has a grade too."""

from __future__ import annotations

from collections.abc import Sequence

from qstar_core.domains import DOMAINS
from qstar_core.domains.many import grade_many
from qstar_core.errors import UserError
from qstar_core.grading import Grade, Outcome
from qstar_core.mdp import Problem

REASON_CHARACTERS = 200


def graded(problem: Problem, texts: Sequence[str]) -> Grade:
    """The domain's grade; what a grader cannot cope with is its error, not the text's.

    Raises:
        UserError: this machine lacks what the grader needs.
    """
    try:
        grade: Grade = DOMAINS[problem.domain].grade(problem, texts)
    except UserError:
        raise
    except Exception as error:  # text from elsewhere may be anything
        reason = f"{type(error).__name__}: {error}"[:REASON_CHARACTERS]
        return Grade(Outcome.GRADER_ERROR, reason=reason)
    return grade


def graded_many(domain: str, pairs: Sequence[tuple[Problem, Sequence[str]]]) -> list[Grade]:
    """As `graded` for each of the pairs, all of one domain, together where that goes well."""
    try:
        return grade_many(domain, pairs)
    except UserError:
        raise
    except Exception:  # of one of them: which one, the single grades say
        return [graded(problem, texts) for problem, texts in pairs]
