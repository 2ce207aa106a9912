"""Runs one search method over held-out problems and grades what it returns.

One row per problem. Everything in a row is a function of the configuration and the models, so a
rerun gives equal rows; seconds are figures of the shard, not columns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from qstar_core.config import RunConfig, SearchConfig
from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem
from qstar_core.policies import Policy
from qstar_core.search import Budget, SearchResult
from qstar_core.search.driver import run
from qstar_core.values import ValueModel

SEARCH_ERROR = "search_error"

ANYTIME = pa.struct([pa.field("tokens", pa.int32()), pa.field("correct", pa.bool_())])
NODE = pa.struct(
    [
        pa.field("node", pa.int32()),
        pa.field("parent", pa.int32()),
        pa.field("text", pa.string()),
        pa.field("q", pa.float64()),
        pa.field("reward", pa.float64()),
        pa.field("g", pa.float64()),
        pa.field("h", pa.float64()),
        pa.field("f", pa.float64()),
        pa.field("order", pa.int32()),
        pa.field("tokens", pa.int32()),
        pa.field("terminal", pa.bool_()),
        pa.field("chosen", pa.bool_()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("reference", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("algorithm", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("steps", pa.list_(pa.string()), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("policy_tokens", pa.int32(), nullable=False),
        pa.field("value_calls", pa.int32(), nullable=False),
        pa.field("expansions", pa.int32(), nullable=False),
        pa.field("finished", pa.int32(), nullable=False),
        pa.field("stop_reason", pa.string(), nullable=False),
        pa.field("anytime", pa.list_(ANYTIME), nullable=False),
        pa.field("nodes", pa.list_(NODE), nullable=False),
    ]
)


def evaluate(
    problems: Sequence[Problem],
    method: SearchConfig,
    policy: Policy,
    value: ValueModel,
    config: RunConfig,
    progress: Callable[[int, int, str, str], None],
    prm: ValueModel | None = None,
) -> tuple[pa.Table, dict[str, Any]]:
    """Searches and grades every problem with one method.

    Args:
        problems: held-out problems.
        method: the search and its settings.
        policy: the frozen LLM.
        value: the Q-value model.
        config: budgets, seed, searches advanced together.
        progress: called with (done, total, unit, note).
        prm: the process reward model, for methods with ``reward: prm``.

    Returns:
        A table of `SCHEMA` in the order of the problems, and the shard's figures: method,
        seconds, problems, tokens.
    """
    limits = config.evaluation
    budget = Budget(limits.max_policy_tokens, limits.max_value_calls, limits.max_expansions)
    start = time.monotonic()
    done = tokens = 0

    def on_progress(finished: int, new_tokens: int) -> None:
        nonlocal done, tokens
        done, tokens = done + finished, tokens + new_tokens
        rate = tokens / max(1e-9, time.monotonic() - start)
        progress(done, len(problems), "searches", f"{method.name}, {rate:,.0f} tokens/s")

    results = run(
        problems,
        method,
        budget,
        policy,
        value,
        run_seed=config.seed,
        active=limits.active,
        max_step_tokens=limits.max_step_tokens,
        max_new_tokens=config.rollouts.max_new_tokens,
        prm=prm,
        on_progress=on_progress,
    )
    seconds = round(time.monotonic() - start, 3)
    table = pa.Table.from_pylist([_row(result, method) for result in results], schema=SCHEMA)
    figures = {"method": method.name, "seconds": seconds, "problems": len(problems)}
    return table, {**figures, "tokens": tokens}


def _row(result: SearchResult, method: SearchConfig) -> dict[str, Any]:
    problem = result.problem
    steps = [step.text for step in result.best.state.steps] if result.best else []
    if result.stop_reason == "error":
        outcome, answer, reason = SEARCH_ERROR, "", result.error
    else:
        grade = DOMAINS[problem.domain].grade(problem, steps)
        outcome, answer, reason = str(grade.outcome), grade.answer, grade.reason
    nodes = [{"node": node.id, **node.to_dict()} for node in result.nodes]
    return {
        "problem_id": problem.id,
        "prompt": problem.prompt,
        "reference": problem.reference,
        "method": method.name,
        "algorithm": method.algorithm,
        "outcome": outcome,
        "answer": answer,
        "reason": reason,
        "steps": steps,
        "score": result.best.score if result.best else None,
        "policy_tokens": result.policy_tokens,
        "value_calls": result.value_calls,
        "expansions": result.expansions,
        "finished": len(result.finished),
        "stop_reason": result.stop_reason,
        "anytime": anytime(result),
        "nodes": nodes,
    }


def anytime(result: SearchResult) -> list[dict[str, Any]]:
    """What the search would have answered had its token budget ended sooner.

    A search with a smaller budget is the beginning of the one with the larger budget, and at its
    end the finished trajectory with the largest f is returned; so the answer after x tokens is the
    best terminal node that was there by then.

    Returns:
        The moments at which that answer changes: tokens spent, and whether it is correct.
    """
    problem, best = result.problem, None
    moments: list[dict[str, Any]] = []
    for node in sorted(result.nodes, key=lambda n: (n.tokens, n.id)):
        if not node.terminal or node.f is None or (best is not None and node.f <= best):
            continue
        best = node.f
        texts = [step.text for step in node.state.steps]
        correct = DOMAINS[problem.domain].grade(problem, texts).reward > 0
        if moments and moments[-1]["tokens"] == node.tokens:
            moments.pop()
        if not moments or moments[-1]["correct"] != correct:
            moments.append({"tokens": node.tokens, "correct": correct})
    return moments
