"""One search under way: what it asks for, as requests to the engines, and what it pays.

Both drivers, `driver` (in rounds) and `driver_async` (each search by itself), do nothing with a
search but what stands here, so a search gets the same answers and is charged the same in both.

1. The seed of a sample comes from (run seed, state, sample index). Neither the method nor the kind
   of request is part of it, so methods that sample the same state draw the same steps; the index
   goes on when a search asks for the same state again.
2. An exception inside a search, or of its domain, ends that search alone, with stop reason
   ``"error"``. So does a request that an engine refuses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from qstar_core.config import SearchConfig
from qstar_core.domains import DOMAINS
from qstar_core.keys import content_id, sample_seed
from qstar_core.mdp import Problem, State, Step, state_id
from qstar_core.policies import Sample, SampleRequest, StepRule
from qstar_core.policies.steps import step_rule
from qstar_core.search import ALGORITHMS
from qstar_core.search.budget import Budget, Ledger
from qstar_core.search.record import Exchange, compact, exchange
from qstar_core.search.requests import Answer, Drawn, Propose, Proposed, Request, Rollout, Score
from qstar_core.search.scorers import Group, fault
from qstar_core.search.trace import Search, SearchResult

Algorithm = Callable[[Problem, SearchConfig, Ledger], Search]


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every search of a run; see `driver.run`."""

    config: SearchConfig
    budget: Budget
    run_seed: int
    max_step_tokens: int
    max_new_tokens: int
    algorithm: Algorithm | None = None
    """None is the one that the configuration names."""


@dataclass(slots=True)
class Slot:
    """One search under way.

    Attributes:
        place: of the problem among those of the run.
        problem: the question.
        rules: of the run.
        ledger: what the search has spent.
        search: the algorithm.
        began: `AmortizedClock.total` when it began, seconds.
        asked: what it asks for now.
        answers: to these, empty until they are there.
        drawn: samples asked for so far, by the id of what they continue.
        log: what was asked and answered.
        tokens_told: policy tokens that progress has been told of.
        result: once the search has ended.
    """

    place: int
    problem: Problem
    rules: Rules
    ledger: Ledger
    search: Search
    began: float = 0.0
    asked: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    drawn: Counter[str] = field(default_factory=Counter)
    log: list[Exchange] = field(default_factory=list)
    tokens_told: int = 0
    result: SearchResult | None = None
    _problem_id: str = ""

    def advance(self) -> None:
        """Sends the answers; keeps what is asked next, or the result."""
        try:
            self._go_on()
        except Exception as error:  # of this problem alone: it is reported, the others go on
            self.fail(error)

    def _go_on(self) -> None:
        if self.asked:
            self.log.append(exchange(self.asked, self.answers, self.ledger))
        try:
            self.asked = self.search.send(self.answers) if self.asked else next(self.search)
            self.answers = [[] for _ in self.asked]
        except StopIteration as stop:
            exchanges = compact(self.log, stop.value.nodes, self.ledger.budget)
            self.result = replace(stop.value, exchanges=exchanges)

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
                seconds=self.ledger.seconds,
            )

    def sample_requests(self) -> list[tuple[int, SampleRequest]]:
        """What the policy is asked now, each with the place of its answer; expansions are paid."""
        jobs: list[tuple[int, SampleRequest]] = []
        if self.result is not None:
            return jobs
        try:
            for place, request in enumerate(self.asked):
                if not isinstance(request, Score):
                    wanted = self._sample_request(request)
                    jobs += [(place, wanted)] if wanted else []
        except Exception as error:  # the domain failed on this problem
            self.fail(error)
            return []
        return jobs

    def _sample_request(self, request: Propose | Rollout) -> SampleRequest | None:
        """The request to the policy; None when the budget is over or the path is at its limit."""
        taken = request.state.steps
        steps, temperature = 1, self.rules.config.temperature
        limit = self.rules.max_new_tokens - sum(step.tokens for step in taken)
        if self.ledger.over or limit < 1:
            return None
        if isinstance(request, Rollout):
            count = request.n
            steps = DOMAINS[self.problem.domain].max_steps(self.problem) - len(taken)
            temperature = temperature if request.temperature is None else request.temperature
        else:
            count, limit = request.k, min(limit, self.rules.max_step_tokens)
            self.ledger.charge_expansion()
        return SampleRequest(
            prompt=self.problem.prompt,
            written="".join(step.text for step in taken),
            seeds=self._seeds(taken, count),
            max_steps=steps,
            max_new_tokens=min(limit, self.ledger.tokens_left),
            temperature=temperature,
            rule=step_rule(self.problem.domain),
        )

    def _seeds(self, taken: Sequence[Step], count: int) -> tuple[int, ...]:
        """The seeds of the next samples that continue some steps."""
        self._problem_id = self._problem_id or self.problem.id
        row_id = content_id("search", state_id(self._problem_id, taken))
        first = self.drawn[row_id]
        self.drawn[row_id] += count
        return tuple(sample_seed(self.rules.run_seed, row_id, first + i) for i in range(count))

    def take_samples(self, place: int, answer: list[Sample] | Exception) -> None:
        """Takes what the policy answered to the request at a place."""
        if isinstance(answer, Exception):
            self.fail(answer)
            return
        try:
            self.answers[place] = self._paid(self.asked[place], answer)
        except Exception as error:  # the domain failed on this problem
            self.fail(error)

    def _paid(self, request: Request, samples: Sequence[Sample]) -> Answer:
        """Charges the samples in their order; returns the actions or rollouts that count.

        From the first sample that does not fit the budget on, all are dropped.
        """
        rule = step_rule(self.problem.domain)
        if isinstance(request, Propose):  # a smaller max_step_tokens makes shorter steps
            rule = replace(rule, tokens=min(rule.tokens, self.rules.max_step_tokens))
        actions: list[Proposed] = []
        rollouts: list[Drawn] = []
        for sample in samples:
            if not self.ledger.charge_tokens(sample.tokens):
                break
            steps = whole_steps(sample, rule)
            if isinstance(request, Propose):
                actions += [Proposed(step, self.ledger.policy_tokens) for step in steps[:1]]
            elif path := episode(self.problem, request.state, steps):
                rollouts.append(Drawn(path, self.ledger.policy_tokens))
        return actions if isinstance(request, Propose) else rollouts

    def score_requests(self) -> list[tuple[int, Group]]:
        """The actions to be scored now, each group with the place of its answer; they are paid."""
        jobs: list[tuple[int, Group]] = []
        if self.result is not None:
            return jobs
        for place, request in enumerate(self.asked):
            if isinstance(request, Score):
                steps = request.steps[: self.ledger.charge_calls(len(request.steps))]
                before = request.state.text if steps else ""
                texts = [(before + step.text, step.ended) for step in steps]
                jobs += [(place, (request.model, texts))] if texts else []
        return jobs

    def take_values(self, place: int, answer: list[float] | Exception) -> None:
        """Takes the values of the group of actions at a place."""
        request = self.asked[place]
        if isinstance(answer, Exception):
            self.fail(answer)
        elif isinstance(request, Score) and (wrong := fault(request.model, answer)) is not None:
            self.fail(wrong)
        else:
            self.answers[place] = answer


def start(place: int, problem: Problem, rules: Rules, began: float = 0.0) -> Slot:
    """A search at its first request."""
    ledger = Ledger(rules.budget)
    algorithm = rules.algorithm or ALGORITHMS[rules.config.algorithm]
    search = algorithm(problem, rules.config, ledger)
    slot = Slot(place, problem, rules, ledger, search, began)
    slot.advance()
    return slot


def whole_steps(sample: Sample, rule: StepRule) -> tuple[Step, ...]:
    """The steps of a sample without a last one that was cut off by the token limit."""
    cut = sample.finish == "length" and sample.steps and not is_whole(sample.steps[-1], rule)
    return sample.steps[:-1] if cut else sample.steps


def is_whole(step: Step, rule: StepRule) -> bool:
    """Whether a step came to its end: what the rule ends it with, or the end of the text."""
    by_newline = rule.newline and "\n" in step.text
    by_tokens = 0 < rule.tokens <= step.tokens
    return step.ended or by_newline or by_tokens


def episode(problem: Problem, state: State, steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps up to the first terminal state; none when they do not reach one.

    Tokens that the policy wrote after the terminal step are paid for all the same.
    """
    is_terminal = DOMAINS[problem.domain].is_terminal
    for count in range(1, len(steps) + 1):
        if is_terminal(problem, (*state.steps, *steps[:count])):
            return tuple(steps[:count])
    return ()
