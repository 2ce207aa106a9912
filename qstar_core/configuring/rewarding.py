"""What the answers of trials were worth: by the grader, a reward model, or a judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from qstar_core.adaptive.episodes import Result
from qstar_core.adaptive_stages import section
from qstar_core.config import RunConfig
from qstar_core.domains import DOMAINS
from qstar_core.domains.many import grade_many
from qstar_core.loading import expect, load_judge
from qstar_core.mdp import Problem
from qstar_core.policies.checkpoint import resolve_checkpoint

Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to a question.

    Attributes:
        problem: the question, without instructions.
        steps: texts of the steps; empty where no answer came to its end.
    """

    problem: Problem
    steps: Sequence[str]


Rewarder = Callable[[Sequence[Answered]], list[Result]]
"""Rewards of answers in their order."""


def graded(answered: Sequence[Answered]) -> list[Result]:
    """Rewards by the grader of the domain; all answers are of one."""
    from qstar_core.adaptive.rewards import exact

    if not answered:
        return []
    pairs = [(each.problem, each.steps) for each in answered]
    return [exact(grade) for grade in grade_many(answered[0].problem.domain, pairs)]


def rewarder_of(spec: Spec, config: RunConfig) -> Rewarder:
    """The rewards that a run asks for; models are loaded once per worker.

    Raises:
        UserError: a model is missing, or has changed since the run was planned.
    """
    adaptive = section(config)
    if adaptive.reward == "grade":
        return graded
    judge = _by_model(spec, config) if adaptive.reward == "model" else _by_judge(spec, config)

    def rewarded(answered: Sequence[Answered]) -> list[Result]:
        results = graded(answered)  # an answer that did not come to its end is not asked about
        places = [k for k, each in enumerate(answered) if "".join(each.steps).strip()]
        judged = judge([_answer(answered[k]) for k in places])
        for k, result in zip(places, judged, strict=True):
            results[k] = result
        return results

    return rewarded


def _answer(each: Answered) -> Any:
    from qstar_core.adaptive.rewards import Answer

    domain = DOMAINS[each.problem.domain]
    right = getattr(domain, "right_answer", lambda problem: problem.reference)(each.problem)
    return Answer(question(each.problem), "".join(each.steps), str(right))


def question(problem: Problem) -> str:
    """The text of a question without the standard prompt around it, where the domain knows it."""
    text = getattr(DOMAINS[problem.domain], "question", lambda problem: problem.prompt)
    return str(text(problem))


def _by_model(spec: Spec, config: RunConfig) -> Any:
    path = section(config).reward_model or ""
    model = _load_reward_model(path, config.policy.device)
    expect(spec, "reward_model", model.fingerprint)
    return model.score


@lru_cache(maxsize=1)
def _load_reward_model(path: str, device: str) -> Any:
    from qstar_core.adaptive.rewards import RewardModel

    return RewardModel(resolve_checkpoint(path, "adaptive.reward_model"), device)


def _by_judge(spec: Spec, config: RunConfig) -> Any:
    from qstar_core.adaptive.rewards import Judge

    adaptive = section(config)
    if adaptive.judge is None:
        raise ValueError("reward: judge without a judge")  # the configuration refuses it
    judge = load_judge(adaptive.judge, spec.get("meter"))
    expect(spec, "judge", judge.fingerprint)
    return Judge(judge, config.seed, adaptive.judge_tokens)
