"""What a search asks for. A search is a generator written as if for one problem.

It yields a list of requests that can be answered together and is sent the list of their answers,
in the same order. ``propose``, ``score`` and ``rollout`` wrap that exchange with types::

    [proposed] = yield from propose([state], k)

An answer may be shorter than what was asked: samples that the policy cut off in the middle of a
step are left out, and so is all that the budget does not cover.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from qstar_core.mdp import State, Step


@dataclass(frozen=True, slots=True)
class Propose:
    """k sampled actions in a state; the answer is ``list[Proposed]``, duplicates not merged."""

    state: State
    k: int


Scorer = Literal["q", "prm"]
"""Which model scores: the Q-value model, or the process reward model."""


@dataclass(frozen=True, slots=True)
class Score:
    """Values of some steps in a state; the answer is ``list[float]`` in [0, 1].

    Attributes:
        state: where the steps are taken.
        steps: each is scored by itself.
        model: ``"q"`` for Q(state, step), ``"prm"`` for R_P of the step. Both are forward passes
            of a scoring model, and each step is one value call.
    """

    state: State
    steps: tuple[Step, ...]
    model: Scorer = "q"


@dataclass(frozen=True, slots=True)
class Rollout:
    """n whole continuations of a state; the answer is ``list[Drawn]``.

    Attributes:
        state: where they start.
        n: how many.
        temperature: of the sampling; None is that of the method's configuration.
    """

    state: State
    n: int
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Proposed:
    """A sampled action.

    Attributes:
        step: the action.
        spent: policy tokens that the search had spent when it was there, counted as for `Drawn`.
    """

    step: Step
    spent: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A whole continuation of a state.

    Attributes:
        steps: to its end.
        spent: policy tokens that the search had spent when it was there: its own, those of all
            before it, and those of samples before it that were dropped.
    """

    steps: tuple[Step, ...]
    spent: int


Request = Propose | Score | Rollout
Answer = list[Proposed] | list[float] | list[Drawn]
T = TypeVar("T")
Asking = Generator[list[Request], list[Answer], T]
"""A generator that asks and returns a T."""


def propose(states: Sequence[State], k: int) -> Asking[list[list[Proposed]]]:
    """Asks for k actions in each state."""
    if not states:
        return []
    answers = yield [Propose(state, k) for state in states]
    return cast("list[list[Proposed]]", answers)


def score(
    actions: Sequence[tuple[State, Sequence[Step]]], model: Scorer = "q"
) -> Asking[list[list[float]]]:
    """Asks for the values of some steps of each state: Q, or R_P of the process reward model."""
    if not actions:
        return []
    answers = yield [Score(state, tuple(steps), model) for state, steps in actions]
    return cast("list[list[float]]", answers)


def rollout(state: State, n: int, temperature: float | None = None) -> Asking[list[Drawn]]:
    """Asks for n whole continuations of a state."""
    [answer] = yield [Rollout(state, n, temperature)]
    return cast("list[Drawn]", answer)


def distinct(proposed: Iterable[Proposed]) -> list[Proposed]:
    """The actions without those that repeat an earlier text and ending."""
    first: dict[tuple[str, bool], Proposed] = {}
    for one in proposed:
        first.setdefault((one.step.text, one.step.ended), one)
    return list(first.values())
