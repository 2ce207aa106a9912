"""Is the answer right? Every grader returns one of five outcomes, and none of them lies.

A grader that ran out of time or failed says so; such a row is never counted as wrong silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What a grader found."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    TIMEOUT = "timeout"
    GRADER_ERROR = "grader_error"


@dataclass(frozen=True, slots=True)
class Grade:
    """An outcome with the extracted answer and a word on the reason."""

    outcome: Outcome
    answer: str = ""
    reason: str = ""

    @property
    def reward(self) -> float:
        """R(s_T, a_T): 1 for a correct answer, else 0."""
        return float(self.outcome is Outcome.CORRECT)
