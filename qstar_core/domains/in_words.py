"""What gsm8k, math and choice have in common: a question in words, and a solution in lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qstar_core.config import DomainConfig
from qstar_core.keys import canonical_json
from qstar_core.mdp import Problem, Step


@dataclass(frozen=True, slots=True)
class Frame:
    """How a domain asks a question where no template says otherwise.

    Attributes:
        domain: key of `qstar_core.domains.DOMAINS`.
        before: what the prompt has before the question.
        after: what it has behind it.
    """

    domain: str
    before: str
    after: str

    def problem(self, question: str, reference: Mapping[str, Any], split: str) -> Problem:
        """The problem of a question.

        Raises:
            ValueError: the question is empty.
        """
        if not question.strip():
            raise ValueError("the question is empty")
        prompt = f"{self.before}{question.strip()}{self.after}"
        return Problem(self.domain, prompt, canonical_json(reference), split)

    def unanswered(self, question: str) -> Problem:
        """A training problem whose answer nobody said: no solution of it can be graded.

        Raises:
            ValueError: the question is empty.
        """
        return self.problem(question, {"answer": None}, "train")

    def question(self, problem: Problem) -> str:
        """The text that was asked, without what the standard prompt has around it."""
        return problem.prompt.removeprefix(self.before).removesuffix(self.after)


def is_over(steps: Sequence[Step], most: int, answered: Callable[[], bool]) -> bool:
    """Whether a solution is over: its text ended, there is no room, or it has given an answer.

    Args:
        steps: so far.
        most: steps of a solution.
        answered: only asked where nothing else ends it.
    """
    return bool(steps) and (steps[-1].ended or len(steps) >= most or answered())


def expected_tokens(domain: DomainConfig, max_new_tokens: int) -> int:
    """Policy tokens of a rollout: the limit, since nothing better is known of any policy."""
    return max_new_tokens


def left_tokens(most: int, domain: DomainConfig, max_new_tokens: int) -> tuple[int, list[int]]:
    """Policy tokens of a line, and of what is left of a solution after each line but the last.

    Any of them may take all that there are.

    Args:
        most: lines of a solution.
        domain: of the run.
        max_new_tokens: limit of a rollout.
    """
    return max_new_tokens, [max_new_tokens] * (most - 1)
