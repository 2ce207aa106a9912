"""The reasoning MDP of Q* (arXiv 2406.14283, section 2): problems, steps, states, trajectories.

A state is the question and the steps so far, ``s_t = [q; a_1 .. a_(t-1)]``; an action is one
reasoning step; the transition appends it. All types are frozen, hashable and serialisable, and
their ids are content hashes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from qstar_core.keys import content_id


@dataclass(frozen=True, slots=True)
class Problem:
    """A question to reason about.

    Attributes:
        domain: name of the domain, a key of ``qstar_core.domains.DOMAINS``.
        prompt: the text the policy continues; steps are appended to it as they are.
        reference: what the grader needs, as canonical JSON.
        split: ``"train"`` or ``"test"``; not part of the id.
    """

    domain: str
    prompt: str
    reference: str
    split: str = "train"

    @property
    def id(self) -> str:
        """Hash of domain, prompt and reference."""
        return content_id("problem", self.domain, self.prompt, self.reference)

    def to_dict(self) -> dict[str, str]:
        """The fields as a plain dict; ``Problem(**d)`` restores it."""
        return {
            "domain": self.domain,
            "prompt": self.prompt,
            "reference": self.reference,
            "split": self.split,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One action: a piece of text the policy produced.

    Attributes:
        text: the text, including the newline that ends it (absent on a last line).
        tokens: policy tokens it took, the end-of-text token included.
        logprob: sum of the tokens' log-probabilities under the policy at temperature 1, nats.
        ended: whether the policy ended the text after this step (end-of-text token).
    """

    text: str
    tokens: int = 0
    logprob: float = 0.0
    ended: bool = False


def state_id(problem_id: str, steps: Iterable[Step]) -> str:
    """Hash of a problem and the texts of the steps taken in it."""
    return content_id("state", problem_id, [step.text for step in steps])


@dataclass(frozen=True, slots=True)
class State:
    """A problem and the steps taken so far."""

    problem: Problem
    steps: tuple[Step, ...] = ()

    @property
    def id(self) -> str:
        """Hash of the problem and the step texts."""
        return state_id(self.problem.id, self.steps)

    @property
    def text(self) -> str:
        """Prompt and steps, the text that the policy continues."""
        return self.problem.prompt + "".join(s.text for s in self.steps)

    def after(self, step: Step) -> State:
        """The next state: the transition is deterministic, it appends the step."""
        return State(self.problem, (*self.steps, step))


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A state the policy or the search ended in, with what was thought of it.

    Attributes:
        state: the last state, all steps included.
        score: the value it is ranked by (f of A*, step value of best-of-N); larger is better.
    """

    state: State
    score: float = 0.0

    @property
    def id(self) -> str:
        """Hash of the last state."""
        return content_id("trajectory", self.state.id)

    def to_dict(self) -> dict[str, Any]:
        """Problem id, step texts and score."""
        return {
            "problem_id": self.state.problem.id,
            "steps": [s.text for s in self.state.steps],
            "score": self.score,
        }
