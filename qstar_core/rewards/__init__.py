"""Process rewards R_P: what each step of a path is worth by itself, and their aggregation g."""

from __future__ import annotations

from collections.abc import Sequence

from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem
from qstar_core.rewards.aggregate import AGGREGATIONS

__all__ = ["AGGREGATIONS", "process_rewards"]


def process_rewards(name: str, problem: Problem, steps: Sequence[str]) -> list[float]:
    """R_P of every step of a path.

    Args:
        name: ``"rules"`` (the domain's rule-based reward) or ``"none"`` (0 for every step).
        problem: the question.
        steps: the step texts, from the first.

    Returns:
        One reward per step, in the domain's unit.

    Raises:
        ValueError: no such reward.
    """
    if name == "none":
        return [0.0] * len(steps)
    if name == "rules":
        rewards: list[float] = DOMAINS[problem.domain].rule_rewards(problem, steps)
        return rewards
    raise ValueError(f"reward must be 'rules' or 'none', got {name!r}")
