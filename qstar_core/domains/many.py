"""Grades of many trajectories at once, where a domain's grader can work on several together."""

from __future__ import annotations

from collections.abc import Sequence

from qstar_core.domains import DOMAINS
from qstar_core.grading import Grade
from qstar_core.mdp import Problem


def grade_many(domain: str, pairs: Sequence[tuple[Problem, Sequence[str]]]) -> list[Grade]:
    """The grades of trajectories in their order.

    Args:
        domain: of all of them, a key of `DOMAINS`.
        pairs: problems and the texts of the steps.

    Raises:
        UserError: this machine lacks what the grader needs.
    """
    module = DOMAINS[domain]
    together = getattr(module, "grade_many", None)
    if together is not None:
        grades: list[Grade] = together(pairs)
        return grades
    return [module.grade(problem, steps) for problem, steps in pairs]
