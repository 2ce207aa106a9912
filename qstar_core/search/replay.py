"""A stored search run again from the record of what it was asked and answered.

A search is a generator that knows the world by its answers and its ledger alone (see
`qstar_core.search.requests`). With both on record the same code goes the same way without a model,
so a stored search can be checked, and stepped through in a debugger, years later. The record is
that of `qstar_core.search.record`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

from qstar_core.config import SearchConfig
from qstar_core.errors import UserError
from qstar_core.mdp import Problem, Step
from qstar_core.search import ALGORITHMS
from qstar_core.search.budget import Budget, Ledger
from qstar_core.search.record import SPENT, score_kind
from qstar_core.search.requests import Drawn, Proposed, Request, Rollout, Score
from qstar_core.search.trace import SearchResult

Row = Mapping[str, Any]

EXACT = ("parent", "text", "order", "tokens", "terminal", "chosen")
CLOSE = ("q", "reward", "g", "h", "f")
SHOWN_DIFFERENCES = 5
SCORES = ("score", "prm")


@dataclass(slots=True)
class LoggedLedger(Ledger):
    """A ledger that is told what was spent, and whether the budget was over."""

    ended: bool = False

    @property
    def over(self) -> bool:
        """Whether the budget was over when the logged round ended."""
        return self.ended

    def follow(self, turn: Row) -> None:
        """Takes over the figures of a round."""
        self.policy_tokens = turn["policy_tokens"]
        self.value_calls = turn["value_calls"]
        self.expansions = turn["expansions"]
        self.seconds = turn["seconds"] or 0.0
        self.ended = turn["over"]


@dataclass(frozen=True, slots=True)
class _Record:
    """The steps of a stored search by their numbers."""

    steps: dict[int, Step]
    parents: dict[int, int]

    def path(self, place: int, start: int = 0) -> tuple[Step, ...]:
        """The steps that lead from one number to another below it."""
        found = []
        while place != start:
            found.append(self.steps[place])
            place = self.parents[place]
        return tuple(reversed(found))

    def answer(self, logged: Row) -> Any:
        """What a request was answered."""
        if logged["kind"] in SCORES:
            return list(logged["values"])
        paths = [self.path(place, logged["node"]) for place in logged["answers"]]
        spent = logged.get("spent") or []
        if len(spent) != len(paths):
            raise _other_code("it wants the tokens spent by each sample, which are not logged")
        drawn = zip(paths, spent, strict=True)
        if logged["kind"] == "propose":
            return [Proposed(path[0], tokens) for path, tokens in drawn]
        return [Drawn(path, tokens) for path, tokens in drawn]

    def wanted(self, logged: Row) -> tuple[Any, ...]:
        """What a request asked for, as `_wanted` says it of the request itself."""
        texts = [step.text for step in self.path(logged["node"])]
        scored = logged["answers"] if logged["kind"] in SCORES else []
        steps = [self.steps[place].text for place in scored]
        return (logged["kind"], texts, logged["asked"], steps)


def _record(row: Row) -> _Record:
    taken = [*row["nodes"][1:], *row["exchanges"]["unused"]]
    steps = {
        entry["node"]: Step(entry["text"], entry["step_tokens"], entry["logprob"], entry["ended"])
        for entry in taken
    }
    return _Record(steps, {entry["node"]: entry["parent"] for entry in taken})


def replay(row: Row, config: SearchConfig, domain: str) -> SearchResult:
    """Runs a stored search again, without a model.

    Args:
        row: of an evaluation data set (`qstar_core.evaluation.run.SCHEMA`).
        config: of its method; it is in the manifest.
        domain: of its problem; likewise.

    Returns:
        What the algorithm finds with the logged answers and ledger, ``exchanges`` left out.

    Raises:
        UserError: the search ended with an error, has no record, or the algorithm asks for
            something else than what is logged: it is not the code that made the data set.
    """
    if row["stop_reason"] == "error" or not (row.get("exchanges") or {}).get("rounds"):
        raise UserError(
            f"{row['method']} left nothing to replay on this problem: {row['reason'] or 'no log'}",
            next_step="choose another problem or --method, or evaluate again with this version",
        )
    problem = Problem(domain, row["prompt"], row["reference"], "test")
    record, rounds = _record(row), row["exchanges"]["rounds"]
    ledger = LoggedLedger(Budget(**row["exchanges"]["budget"]))
    search = ALGORITHMS[config.algorithm](problem, config, ledger)
    number = 0
    try:
        asked = next(search)
        for number, turn in enumerate(rounds, start=1):
            _compare(number, asked, turn["requests"], record)
            ledger.follow(turn)
            asked = search.send([record.answer(logged) for logged in turn["requests"]])
    except StopIteration as stop:
        if number < len(rounds):
            raise _other_code(f"it ends after {number} of {len(rounds)} rounds") from None
        result: SearchResult = stop.value
        return result
    raise _other_code(f"it goes on after the last of {len(rounds)} rounds")


def _compare(number: int, asked: Sequence[Request], logged: Sequence[Row], record: _Record) -> None:
    now, then = [_wanted(request) for request in asked], [record.wanted(entry) for entry in logged]
    if now != then:
        raise _other_code(f"in round {number} it asks for {_words(now)}, logged is {_words(then)}")


def _wanted(request: Request) -> tuple[Any, ...]:
    texts = [step.text for step in request.state.steps]
    if isinstance(request, Score):
        scored = [step.text for step in request.steps]
        return (score_kind(request), texts, len(scored), scored)
    if isinstance(request, Rollout):
        return ("rollout", texts, request.n, [])
    return ("propose", texts, request.k, [])


def _words(wanted: Sequence[tuple[Any, ...]]) -> str:
    parts = [
        f"{kind} {count} after {texts[-1].strip() if texts else 'the question'!r}"
        for kind, texts, count, _ in wanted
    ]
    return "; ".join(parts) or "nothing"


def _other_code(what: str) -> UserError:
    return UserError(
        f"the search does not go the way that is logged: {what}",
        safe="the data set is as it was",
        next_step="replay with the version and configuration that made it: qstar show DATASET",
    )


def differences(row: Row, result: SearchResult) -> list[str]:
    """What a replay found otherwise than the row has it; nothing if all is equal.

    The lines quote what a model wrote: whoever prints them makes control characters visible.
    Numbers that are computed may differ by rounding (another machine's libm).
    """
    steps = [step.text for step in result.best.state.steps] if result.best else []
    found = [
        f"{name}: {getattr(result, name)}, stored {row[name]}"
        for name in (*SPENT, "stop_reason")
        if getattr(result, name) != row[name]
    ]
    score = result.best.score if result.best else None
    if not _close(score, row["score"]):
        found.insert(0, f"score: {score}, stored {row['score']}")
    if steps != list(row["steps"]):
        found.insert(0, f"answer: {' / '.join(map(str.strip, steps)) or 'none'}")
    if len(result.nodes) != len(row["nodes"]):
        found.append(f"nodes: {len(result.nodes)}, stored {len(row['nodes'])}")
    for node, stored in zip(result.nodes, row["nodes"], strict=False):
        now = node.to_dict()
        names = [name for name in EXACT if now[name] != stored[name]]
        names += [name for name in CLOSE if not _close(now[name], stored[name])]
        found += [f"node {node.id}: {n} {now[n]}, stored {stored[n]}" for n in names]
    return found[:SHOWN_DIFFERENCES]


def _close(a: float | None, b: float | None) -> bool:
    return a == b if a is None or b is None else isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
