"""Process rewards R_P: what each step of a path is worth by itself, and their aggregation g."""

from __future__ import annotations

from collections.abc import Sequence

from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem, Step
from qstar_core.rewards.aggregate import AGGREGATIONS

__all__ = ["AGGREGATIONS", "process_rewards"]


def process_rewards(name: str, problem: Problem, steps: Sequence[Step]) -> list[float]:
    """R_P of every step of a path.

    Args:
        name: ``"rules"`` (the domain's rule-based reward), ``"logprob"`` (mean log-probability of
            the step's tokens under the policy, nats, at most 0) or ``"none"`` (0 for every step).
            ``"prm"`` is not among them: a model's rewards, P(the step is right) in [0, 1], are
            asked for in batches, see `qstar_core.search.requests.Score`.
        problem: the question.
        steps: the steps, from the first.

    Returns:
        One reward per step; that of ``rules`` is in the domain's unit.

    Raises:
        ValueError: no such reward.
    """
    if name == "none":
        return [0.0] * len(steps)
    if name == "logprob":
        return [step.logprob / max(1, step.tokens) for step in steps]
    if name == "rules":
        texts = [step.text for step in steps]
        rewards: list[float] = DOMAINS[problem.domain].rule_rewards(problem, texts)
        return rewards
    raise ValueError(f"reward must be 'rules', 'logprob' or 'none', got {name!r}")
