"""Runs many searches at once: one policy batch and one value batch per round.

Each search is a generator that knows one problem. In every round the driver collects what all
active searches ask for, makes one call to the policy and one to the Q-value model, charges the
ledgers, sends the answers and refills finished slots.

1. The seed of a sample comes from (run seed, state, sample index). Neither the method nor the kind
   of request is part of it, so methods that sample the same state draw the same steps; the index
   goes on when a search asks for the same state again. Results depend neither on ``active`` nor on
   the order of the problems.
2. An exception inside a search, and a request that the policy or the Q-value model refuses with a
   ValueError or UserError, end that search alone, with stop reason ``"error"``. Any other exception
   of an engine (out of memory, a lost device or server) is not the problem's fault and is raised.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TypeVar

from qstar_core.config import SearchConfig
from qstar_core.domains import DOMAINS
from qstar_core.errors import EngineUnavailable, UserError
from qstar_core.keys import content_id, sample_seed
from qstar_core.mdp import Problem, State, Step
from qstar_core.policies import Policy, Sample, SampleRequest, StepRule
from qstar_core.search import ALGORITHMS
from qstar_core.search.budget import Budget, Ledger
from qstar_core.search.requests import Answer, Propose, Request, Rollout, Score, Scorer
from qstar_core.search.scorers import Scorers, Texts, fault
from qstar_core.search.trace import Search, SearchResult
from qstar_core.values import ValueModel

MAX_STEP_TOKENS = 32
MAX_NEW_TOKENS = 96
STEP_RULE = StepRule(newline=True)
REFUSALS = (ValueError, UserError)

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(slots=True)
class Slot:
    """One search under way."""

    place: int
    problem: Problem
    ledger: Ledger
    search: Search
    asked: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    drawn: Counter[str] = field(default_factory=Counter)  # state id -> samples asked for so far
    result: SearchResult | None = None

    def advance(self) -> None:
        """Sends the answers; keeps what is asked next, or the result."""
        try:
            self.asked = self.search.send(self.answers) if self.asked else next(self.search)
            self.answers = [[] for _ in self.asked]
        except StopIteration as stop:
            self.result = stop.value
        except Exception as error:  # of this problem alone: it is reported, the others go on
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Ends the search with an error."""
        if self.result is None:
            self.search.close()
            self.result = SearchResult(
                problem=self.problem,
                best=None,
                finished=[],
                nodes=[],
                policy_tokens=self.ledger.policy_tokens,
                value_calls=self.ledger.value_calls,
                expansions=self.ledger.expansions,
                stop_reason="error",
                error=f"{type(error).__name__}: {error}",
            )


@dataclass(frozen=True, slots=True)
class Driver:
    """Answers what the active searches ask for; see ``run`` for the fields."""

    config: SearchConfig
    policy: Policy
    scorers: Scorers
    run_seed: int
    max_step_tokens: int
    max_new_tokens: int

    def sample(self, slots: Sequence[Slot]) -> None:
        """Answers all requests for samples with one call to the policy."""
        jobs: list[tuple[Slot, int, SampleRequest]] = []
        for slot in slots:
            for place, request in enumerate(slot.asked):
                try:
                    if slot.result is None and not isinstance(request, Score):
                        wanted = self.sample_request(slot, request)
                        jobs += [(slot, place, wanted)] if wanted else []
                except Exception as error:  # the domain failed on this problem
                    slot.fail(error)
        answers = refusable(self.policy.sample, [job[2] for job in jobs])
        for (slot, place, _), answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Exception):
                slot.fail(answer)
                continue
            try:
                slot.answers[place] = paid(slot, slot.asked[place], answer)
            except Exception as error:  # the domain failed on this problem
                slot.fail(error)

    def sample_request(self, slot: Slot, request: Propose | Rollout) -> SampleRequest | None:
        """The request to the policy; None when the budget is over or the path is at its limit."""
        state, steps, temperature = request.state, 1, self.config.temperature
        limit = self.max_new_tokens - sum(step.tokens for step in state.steps)
        if slot.ledger.over or limit < 1:
            return None
        if isinstance(request, Rollout):
            count = request.n
            steps = DOMAINS[slot.problem.domain].max_steps(slot.problem) - len(state.steps)
            temperature = temperature if request.temperature is None else request.temperature
        else:
            count, limit = request.k, min(limit, self.max_step_tokens)
            slot.ledger.charge_expansion()
        row_id = content_id("search", state.id)
        first = slot.drawn[state.id]
        slot.drawn[state.id] += count
        return SampleRequest(
            prompt=state.problem.prompt,
            written="".join(step.text for step in state.steps),
            seeds=tuple(sample_seed(self.run_seed, row_id, first + i) for i in range(count)),
            max_steps=steps,
            max_new_tokens=min(limit, slot.ledger.tokens_left),
            temperature=temperature,
            rule=STEP_RULE,
        )

    def score(self, slots: Sequence[Slot]) -> None:
        """Answers all requests for values with one call to each model."""
        jobs: list[tuple[Slot, int, Scorer, Texts]] = []
        for slot in slots:
            for place, request in enumerate(slot.asked):
                if slot.result is None and isinstance(request, Score):
                    steps = request.steps[: slot.ledger.charge_calls(len(request.steps))]
                    texts = [(request.state.text + step.text, step.ended) for step in steps]
                    jobs += [(slot, place, request.model, texts)] if texts else []
        answers = refusable(self.scorers.values, [job[2:] for job in jobs])
        for (slot, place, model, _), answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Exception):
                slot.fail(answer)
            elif (wrong := fault(model, answer)) is not None:
                slot.fail(wrong)
            else:
                slot.answers[place] = answer


def run(
    problems: Sequence[Problem],
    config: SearchConfig,
    budget: Budget,
    policy: Policy,
    value: ValueModel | None,
    *,
    run_seed: int,
    active: int = 64,
    max_step_tokens: int = MAX_STEP_TOKENS,
    max_new_tokens: int = MAX_NEW_TOKENS,
    prm: ValueModel | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[SearchResult]:
    """Searches every problem with one method.

    Args:
        problems: the questions; one result each, in this order.
        config: algorithm and settings.
        budget: limits per problem.
        policy: who proposes steps.
        value: the Q-value model; None only for methods that ask for no Q (greedy, lambda = 0).
        run_seed: seed of the run.
        active: searches advanced together; changes the speed, never the results.
        max_step_tokens: tokens of a proposed step at most; a longer one is cut off and dropped.
        max_new_tokens: tokens of a whole trajectory at most, in every method; with the prompt they
            must fit the policy's context.
        prm: the process reward model; only for methods with ``reward: prm``.
        on_progress: called after each round with (problems done, policy tokens charged) in it.

    Raises:
        UserError: the method needs a Q-value model or a process reward model and there is none.
        ValueError: ``active`` or a token limit is below 1.
    """
    if min(active, max_step_tokens, max_new_tokens) < 1:
        raise ValueError("active, max_step_tokens and max_new_tokens must be at least 1")
    scorers = Scorers(value, prm)
    scorers.require(config)
    driver = Driver(config, policy, scorers, run_seed, max_step_tokens, max_new_tokens)
    waiting = deque(enumerate(problems))
    results: dict[int, SearchResult] = {}
    slots: list[Slot] = []
    while waiting or slots:
        while waiting and len(slots) < active:
            slots.append(start(*waiting.popleft(), config, budget))
        before = sum(slot.ledger.policy_tokens for slot in slots)
        driver.sample(slots)
        driver.score(slots)
        for slot in slots:
            if slot.result is None:
                slot.advance()
        ended = {slot.place: slot.result for slot in slots if slot.result is not None}
        if on_progress is not None:
            on_progress(len(ended), sum(s.ledger.policy_tokens for s in slots) - before)
        results |= ended
        slots = [slot for slot in slots if slot.place not in ended]
    return [results[place] for place in range(len(problems))]


def start(place: int, problem: Problem, config: SearchConfig, budget: Budget) -> Slot:
    """A search at its first request."""
    ledger = Ledger(budget)
    slot = Slot(place, problem, ledger, ALGORITHMS[config.algorithm](problem, config, ledger))
    slot.advance()
    return slot


def paid(slot: Slot, request: Request, samples: Sequence[Sample]) -> Answer:
    """Charges the samples in their order; returns the actions or rollouts that count.

    From the first sample that does not fit the budget on, all are dropped.
    """
    bought = list(takewhile(lambda sample: slot.ledger.charge_tokens(sample.tokens), samples))
    if isinstance(request, Propose):
        return [step for sample in bought for step in whole_steps(sample)[:1]]
    state = request.state
    return [path for s in bought if (path := episode(slot.problem, state, whole_steps(s)))]


def whole_steps(sample: Sample) -> tuple[Step, ...]:
    """The steps of a sample without a last one that was cut off by the token limit."""
    cut = sample.finish == "length" and sample.steps and not is_whole(sample.steps[-1])
    return sample.steps[:-1] if cut else sample.steps


def is_whole(step: Step) -> bool:
    """Whether a step came to its end: a newline, or the end of the text."""
    return step.ended or "\n" in step.text


def episode(problem: Problem, state: State, steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps up to the first terminal state; none when they do not reach one.

    Tokens that the policy wrote after the terminal step are paid for all the same.
    """
    is_terminal = DOMAINS[problem.domain].is_terminal
    for count in range(1, len(steps) + 1):
        if is_terminal(problem, (*state.steps, *steps[:count])):
            return tuple(steps[:count])
    return ()


def refusable(
    call: Callable[[Sequence[In]], list[Out]], items: Sequence[In]
) -> list[Out | Exception]:
    """Calls with all items; when that is refused, halves them to find out which are refused."""
    if not items:
        return []
    try:
        return list(call(items))
    except EngineUnavailable:
        raise
    except REFUSALS as error:
        if len(items) == 1:
            return [error]
    middle = len(items) // 2
    return refusable(call, items[:middle]) + refusable(call, items[middle:])
