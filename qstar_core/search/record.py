"""What a search was asked and answered, in the form in which it is kept with its tree.

1. States and steps are numbers: those of the tree's nodes, and numbers after the last node's for
   steps that were sampled and never became one (lookahead samples many of them; the others were
   left without a Q when the value calls ran out). No text is stored twice.
2. A sample that repeats the text, ending and tokens of another one has its number; its own
   log-probability is not kept. No algorithm looks at that of a repeated sample.
3. Whether the budget was over is on record for every round, not worked out. Seconds are on record
   only where there is a limit on them; without one a record is the same on every machine.
4. Samples that were paid for and dropped leave no text. What they cost is in the tokens that were
   spent when the next sample was there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from qstar_core.mdp import Step
from qstar_core.search.budget import Budget, Ledger
from qstar_core.search.requests import Answer, Propose, Request, Score
from qstar_core.search.trace import Node

SPENT = ("policy_tokens", "value_calls", "expansions")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One round of a search: what it asked for, what it was answered, the ledger after it."""

    asked: list[Request]
    answers: list[Answer]
    policy_tokens: int
    value_calls: int
    expansions: int
    seconds: float
    over: bool


def exchange(asked: list[Request], answers: list[Answer], ledger: Ledger) -> Exchange:
    """The round whose answers are about to be sent."""
    spent = (ledger.policy_tokens, ledger.value_calls, ledger.expansions, ledger.seconds)
    return Exchange(asked, answers, *spent, ledger.over)


@dataclass(slots=True)
class _Places:
    """The numbers of states and steps."""

    known: dict[tuple[int, str, int, bool], int]
    count: int
    unused: list[dict[str, Any]] = field(default_factory=list)

    def at(self, place: int, steps: Sequence[Step]) -> int:
        """The number at the end of some steps from ``place`` on; new ones are noted."""
        for step in steps:
            key = (place, step.text, step.tokens, step.ended)
            if key not in self.known:
                self.known[key] = self.count + len(self.unused)
                self.unused.append(
                    {
                        "node": self.known[key],
                        "parent": place,
                        "text": step.text,
                        "logprob": step.logprob,
                        "step_tokens": step.tokens,
                        "ended": step.ended,
                    }
                )
            place = self.known[key]
        return place


def compact(log: Sequence[Exchange], nodes: Sequence[Node], budget: Budget) -> dict[str, Any]:
    """The record of a search that has ended, against its tree.

    Args:
        log: its rounds.
        nodes: its tree.
        budget: the limits it ran under.

    Returns:
        ``budget``; ``rounds``, each with what was spent after it, whether the budget was ``over``
        and its ``requests``; and ``unused``, the steps that are no nodes. A request has ``kind``
        (propose, score, prm or rollout), ``node`` (the state), ``asked`` (how many), ``answers``
        (children; for rollouts their last nodes; for scores the steps to be scored), ``values``
        (of as many of those as were scored) and ``spent`` (for proposals and rollouts, the policy
        tokens that the search had spent when each was there).
    """
    places = _Places({}, len(nodes))
    for node in nodes[1:]:
        step = node.state.steps[-1]
        places.known[node.parent, step.text, step.tokens, step.ended] = node.id
    timed = budget.seconds is not None
    rounds = [
        {
            **{name: getattr(turn, name) for name in SPENT},
            "seconds": turn.seconds if timed else None,
            "over": turn.over,
            "requests": [
                _request(request, answer, places)
                for request, answer in zip(turn.asked, turn.answers, strict=True)
            ],
        }
        for turn in log
    ]
    limits = {name: getattr(budget, name) for name in (*SPENT, "seconds")}
    return {"budget": limits, "rounds": rounds, "unused": places.unused}


def _request(request: Request, answer: Any, places: _Places) -> dict[str, Any]:
    state = places.at(0, request.state.steps)
    values: list[float] = []
    spent: list[int] = []
    if isinstance(request, Score):
        ends = [places.at(state, (step,)) for step in request.steps]
        kind, asked, values = score_kind(request), len(ends), list(answer)
    elif isinstance(request, Propose):
        ends, spent = [places.at(state, (a.step,)) for a in answer], [a.spent for a in answer]
        kind, asked = "propose", request.k
    else:
        ends, spent = [places.at(state, d.steps) for d in answer], [d.spent for d in answer]
        kind, asked = "rollout", request.n
    found = {"node": state, "kind": kind, "asked": asked, "answers": ends}
    return {**found, "values": values, "spent": spent}


def score_kind(request: Score) -> str:
    """How scores are called: Q, or those of another model that the request names."""
    return "score" if request.model == "q" else request.model
