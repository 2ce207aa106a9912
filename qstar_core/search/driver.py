"""Runs many searches at once: one policy batch and one value batch per round.

Each search is a generator that knows one problem. In every round the driver collects what all
active searches ask for, makes one call to the policy and one to the Q-value model, charges the
ledgers, sends the answers and refills finished slots. A policy that answers asynchronously, such
as a fleet of servers, needs no rounds: `driver_async` lets each search go on by itself.

1. Results depend neither on ``active`` nor on the order of the problems nor on which of the two
   drivers runs them, as far as the engines answer equal requests equally: what a search is asked,
   answered and charged is all in `slot`.
2. A search that fails, and one whose request an engine refuses, ends alone with stop reason
   ``"error"``; trouble of an engine as a whole is raised. See `slot` and `calls`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from qstar_core.config import SearchConfig
from qstar_core.mdp import Problem
from qstar_core.policies import AsyncPolicy, Policy
from qstar_core.search.budget import AmortizedClock, Budget
from qstar_core.search.calls import refusable
from qstar_core.search.driver_async import in_parallel
from qstar_core.search.scheduler import OnProgress, OnResult, Scheduler
from qstar_core.search.scorers import Scorers
from qstar_core.search.slot import Algorithm, Rules, Slot
from qstar_core.search.trace import SearchResult
from qstar_core.values import ValueModel

MAX_STEP_TOKENS = 32
MAX_NEW_TOKENS = 96


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
    on_progress: OnProgress | None = None,
    on_result: OnResult | None = None,
    clock: Callable[[], float] = time.monotonic,
    algorithm: Algorithm | None = None,
) -> list[SearchResult]:
    """Searches every problem with one method.

    Args:
        problems: the questions; one result each, in this order.
        config: algorithm and settings.
        budget: limits per problem.
        policy: who proposes steps; one with ``sample_async`` is asked by each search for itself,
            any other once per round for all of them.
        value: the Q-value model; None only for methods that ask for no Q (greedy, lambda = 0).
        run_seed: seed of the run.
        active: searches advanced together; changes the speed, never the results, unless the
            budget has a limit of seconds.
        max_step_tokens: tokens of a proposed step at most; a longer one is cut off and dropped, and
            where steps are so many tokens, it makes them shorter.
        max_new_tokens: tokens of a whole trajectory at most, in every method; with the prompt they
            must fit the policy's context.
        prm: the process reward model; only for methods with ``reward: prm``.
        on_progress: see `scheduler.OnProgress`.
        on_result: called with (place of the problem, its result) the moment a search ends; results
            are not kept then, and none is returned.
        clock: seconds, for the budget.
        algorithm: the search; None is the one that the configuration names.

    Raises:
        UserError: the method needs a Q-value model or a process reward model and there is none.
        EngineUnavailable: an engine as a whole cannot serve.
        ValueError: ``active`` or a token limit is below 1.
    """
    if min(active, max_step_tokens, max_new_tokens) < 1:
        raise ValueError("active, max_step_tokens and max_new_tokens must be at least 1")
    scorers = Scorers(value, prm)
    scorers.require(config)
    rules = Rules(config, budget, run_seed, max_step_tokens, max_new_tokens, algorithm)
    results: dict[int, SearchResult] = {}
    keep = on_result or results.__setitem__
    scheduler = Scheduler(
        iter(enumerate(problems)), rules, AmortizedClock(clock), keep, on_progress
    )
    serve(scheduler, policy, scorers, active)
    return [results[place] for place in sorted(results)]


def run_each(
    trials: Sequence[tuple[Problem, Rules]],
    policy: Policy,
    scorers: Scorers,
    active: int,
    on_result: OnResult,
    on_progress: OnProgress | None = None,
) -> None:
    """Searches every problem with a method, a budget and a seed of its own.

    Args:
        trials: problems with their rules.
        policy: as in `run`.
        scorers: likewise, of all methods.
        active: searches advanced together.
        on_result: called with (place of the trial, its result) when a search ends.
        on_progress: see `scheduler.OnProgress`.

    Raises:
        UserError: a method needs a model that there is not.
    """
    for method in {rules.config.name: rules.config for _, rules in trials}.values():
        scorers.require(method)
    waiting = iter(enumerate(problem for problem, _ in trials))
    rules = [own for _, own in trials]
    clock = AmortizedClock(time.monotonic)
    serve(Scheduler(waiting, rules, clock, on_result, on_progress), policy, scorers, active)


def serve(scheduler: Scheduler, policy: Policy, scorers: Scorers, active: int) -> None:
    """Advances the searches of a run in the way of the policy, until none is left."""
    if isinstance(policy, AsyncPolicy):
        policy.run(in_parallel(scheduler, policy, scorers, active))
    else:
        in_rounds(scheduler, policy, scorers, active)


def in_rounds(scheduler: Scheduler, policy: Policy, scorers: Scorers, active: int) -> None:
    """Advances all active searches together until none is left."""
    slots: list[Slot] = []
    while True:
        while len(slots) < active and (new := scheduler.begin()) is not None:
            slots.append(new)
        if not slots:
            return
        sample(slots, policy)
        score(slots, scorers)
        slots = scheduler.step(slots)


def sample(slots: Sequence[Slot], policy: Policy) -> None:
    """Answers all requests for samples with one call to the policy."""
    jobs = [(slot, place, ask) for slot in slots for place, ask in slot.sample_requests()]
    answers = refusable(policy.sample, [ask for _, _, ask in jobs])
    for (slot, place, _), answer in zip(jobs, answers, strict=True):
        slot.take_samples(place, answer)


def score(slots: Sequence[Slot], scorers: Scorers) -> None:
    """Answers all requests for values with one call to each model."""
    jobs = [(slot, place, group) for slot in slots for place, group in slot.score_requests()]
    answers = refusable(scorers.values, [group for _, _, group in jobs])
    for (slot, place, _), answer in zip(jobs, answers, strict=True):
        slot.take_values(place, answer)
