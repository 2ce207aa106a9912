"""Pools are written as if for one problem, as searches are: generators that ask for continuations.

A generator yields a list of `Ask` and is sent, in the same order, the paths that were drawn for
each. `advance` brings the generators of many problems forward together, with one batch of the
policy per round. What a generator asks for depends on the paths of its own problem alone, so the
rows depend neither on the shard nor on the batch nor on an interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from qstar_core.mdp import Problem, Step
from qstar_core.policies import Policy, SampleRequest
from qstar_core.rollouts.paths import Path, Sampling, continued, request, seeds_of

Done = Callable[[int, int], None]
OnAsked = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Ask:
    """Continuations of a state.

    Attributes:
        state_id: of the state.
        given: the steps that lead to it.
        first: sample index of the first continuation.
        count: how many are wanted; none is drawn where the state cannot be continued.
    """

    state_id: str
    given: tuple[Step, ...]
    first: int
    count: int

    @property
    def indices(self) -> range:
        """The sample indices that are asked for."""
        return range(self.first, self.first + self.count)


Asking = Generator[list[Ask], list[list[Path]], None]
"""The pool of one problem in the making."""


@dataclass(slots=True)
class _Turn:
    """One generator and what it asks for now."""

    problem: Problem
    asking: Asking
    asked: list[Ask]
    paths: list[Path] = field(default_factory=list)

    def requests(self, sampling: Sampling) -> list[SampleRequest | None]:
        """To the policy, one per ask."""
        return [
            request(
                self.problem,
                ask.given,
                seeds_of(self.problem, ask.state_id, ask.indices, sampling),
                sampling,
            )
            for ask in self.asked
        ]

    def answer(self, drawn: list[list[Path]]) -> None:
        """Keeps the paths and lets the generator go on; nothing is asked when it has ended."""
        self.paths += [path for paths in drawn for path in paths]
        try:
            self.asked = self.asking.send(drawn)
        except StopIteration:
            self.asked = []


def _begun(problem: Problem, asking: Asking) -> _Turn:
    return _Turn(problem, asking, next(asking, []))


def advance(
    problems: Sequence[Problem],
    begin: Callable[[Problem], Asking],
    policy: Policy,
    sampling: Sampling,
    done: Done | None = None,
    on_asked: OnAsked | None = None,
) -> list[Path]:
    """Makes the pools of some problems.

    Args:
        problems: whose pools are made.
        begin: the generator of a problem.
        policy: who samples.
        sampling: how.
        done: called with (samples finished since the last call, their tokens).
        on_asked: called with the number of samples that a round asks for.

    Returns:
        The paths in the order of the problems, then in that in which they were asked for.
    """
    turns = [_begun(problem, begin(problem)) for problem in problems]
    while waiting := [turn for turn in turns if turn.asked]:
        requests = [turn.requests(sampling) for turn in waiting]
        wanted = [one for some in requests for one in some if one is not None]
        if on_asked is not None:
            on_asked(sum(len(one.seeds) for one in wanted))
        answers = iter(policy.sample(wanted, done) if wanted else [])
        for turn, some in zip(waiting, requests, strict=True):
            drawn: list[list[Path]] = []
            for ask, one in zip(turn.asked, some, strict=True):
                samples = next(answers) if one is not None else []
                seeds = one.seeds if one is not None else ()
                drawn.append(
                    [
                        continued(turn.problem, ask.given, ask.state_id, *place, sampling)
                        for place in zip(ask.indices, seeds, samples, strict=False)
                    ]
                )
            turn.answer(drawn)
    return [path for turn in turns for path in turn.paths]
