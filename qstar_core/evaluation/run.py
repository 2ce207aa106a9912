"""Runs one search method over held-out problems and grades what it returns.

One row per problem. Everything in a row is a function of the configuration and the models, so a
rerun gives equal rows, unless the budget has a limit of seconds; seconds are figures of the shard,
not columns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from qstar_core.config import RunConfig, SearchConfig
from qstar_core.domains import DOMAINS
from qstar_core.domains.many import grade_many
from qstar_core.evaluation.collect import Rows
from qstar_core.evaluation.exchanges import EXCHANGES
from qstar_core.grading import Grade, Outcome
from qstar_core.mdp import Problem
from qstar_core.policies import Policy
from qstar_core.search import Budget, SearchResult
from qstar_core.search.driver import run
from qstar_core.store.columns import column
from qstar_core.values import ValueModel

SEARCH_ERROR = "search_error"

ANYTIME = pa.struct([pa.field("tokens", pa.int32()), pa.field("correct", pa.bool_())])
NODE = pa.struct(
    [
        column("node", pa.int32(), "Number in the tree", True),
        column("parent", pa.int32(), "Number of its parent, -1 for the root", True),
        column("text", pa.string(), "The step; at the root the prompt", True),
        column("q", pa.float64(), "Q of the step, of the Q-value model", True),
        column("reward", pa.float64(), "Process reward of the step", True),
        column("g", pa.float64(), "Aggregated rewards of the path", True),
        column("h", pa.float64(), "Heuristic", True),
        column("f", pa.float64(), "What the search goes by, larger is better", True),
        column("order", pa.int32(), "Place in which it was taken up, -1 for never", True),
        column("tokens", pa.int32(), "Policy tokens spent when it was generated", True),
        column("terminal", pa.bool_(), "Whether the episode is over", True),
        column("chosen", pa.bool_(), "Whether it is on the returned path", True),
        column("logprob", pa.float64(), "Log-probability of the step, in nats", True),
        column("step_tokens", pa.int32(), "Policy tokens of the step", True),
        column("ended", pa.bool_(), "Whether the policy ended the trajectory with it", True),
        column("correct", pa.bool_(), "Grade; missing where the episode is not over", True),
    ]
)
"""`qstar_core.search.trace.Node`; ``correct`` is null where the episode is not over."""
SCHEMA = pa.schema(
    [
        column("problem_id", pa.string(), "Id of the held-out problem"),
        column("prompt", pa.string(), "What the policy was given"),
        column("reference", pa.string(), "The right answer, or what it is graded by"),
        column("method", pa.string(), "Name of the search method in the configuration"),
        column("algorithm", pa.string(), "Its algorithm, such as astar or best_of_n"),
        column("outcome", pa.string(), "Grade: correct, wrong, ...; or search_error"),
        column("answer", pa.string(), "The answer as the grader read it; may be empty"),
        column("reason", pa.string(), "Why it failed, in words; may be empty"),
        column("steps", pa.list_(pa.string()), "The returned trajectory"),
        column("score", pa.float64(), "f of the returned trajectory", True),
        column("policy_tokens", pa.int32(), "Tokens that the policy generated"),
        column("value_calls", pa.int32(), "Texts that value and reward model scored"),
        column("expansions", pa.int32(), "States that were expanded"),
        column("finished", pa.int32(), "Trajectories that were finished"),
        column("stop_reason", pa.string(), "Why the search ended"),
        column("first_correct", pa.int32(), "Tokens at the first correct trajectory", True),
        column("anytime", pa.list_(ANYTIME), "Tokens at which the answer became right or wrong"),
        column("nodes", pa.list_(NODE), "The search tree"),
        column("exchanges", EXCHANGES, "The record that replays it; none after an error", True),
    ]
)


def evaluate(
    problems: Sequence[Problem],
    method: SearchConfig,
    policy: Policy,
    value: ValueModel | None,
    config: RunConfig,
    progress: Callable[[int, int, str, str], None],
    prm: ValueModel | None = None,
    budget: Budget | None = None,
) -> tuple[pa.Table, dict[str, Any]]:
    """Searches and grades every problem with one method.

    Args:
        problems: held-out problems.
        method: the search and its settings.
        policy: the frozen LLM.
        value: the Q-value model; None where the method asks none.
        config: budgets, seed, searches advanced together.
        progress: called with (done, total, unit, note); the note says how many are solved so far,
            tokens per second and searches under way.
        prm: the process reward model, for methods with ``reward: prm``.
        budget: limits per problem; None is those of the evaluation.

    Returns:
        A table of `SCHEMA` in the order of the problems, and the shard's figures: method, seconds
        (without grading), problems, tokens.
    """
    limits = config.evaluation
    if budget is None:
        budget = Budget(limits.max_policy_tokens, limits.max_value_calls, limits.max_expansions)
    tally = Tally(method, problems, progress)
    run(
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
        on_progress=tally.tell,
        on_result=tally.take,
    )
    return tally.rows.table(), tally.figures()


class Tally:
    """Grades results as they come and keeps their rows; tells of the progress.

    Args:
        method: that searches.
        problems: the rows are of, by place.
        progress: called with (done, total, unit, note).
    """

    def __init__(
        self,
        method: SearchConfig,
        problems: Sequence[Problem],
        progress: Callable[[int, int, str, str], None],
    ) -> None:
        self.method, self.problems, self.progress = method, problems, progress
        self.rows = Rows(SCHEMA)
        self.done = self.solved = self.tokens = 0
        self.grading_s = 0.0
        self._start = time.monotonic()

    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._start

    def figures(self) -> dict[str, Any]:
        """Of the shard: method, seconds (without grading), problems, tokens."""
        seconds = round(self.elapsed_s() - self.grading_s, 3)
        figures = {"method": self.method.name, "seconds": seconds, "problems": len(self.problems)}
        return {**figures, "tokens": self.tokens}

    def take(self, place: int, result: SearchResult, chosen: SearchConfig | None = None) -> None:
        """Grades the result of the problem at a place; ``chosen`` are the settings of its own."""
        before = self.elapsed_s()
        row = search_row(result, chosen or self.method, self.problems[place])
        self.rows.add(place, row)
        self.done += 1
        self.solved += row["outcome"] == Outcome.CORRECT
        self.grading_s += self.elapsed_s() - before

    def tell(self, finished: int, new_tokens: int, active: int) -> None:
        """Takes what the driver tells; see `scheduler.OnProgress`."""
        self.tokens += new_tokens
        rate = self.tokens / max(1e-9, self.elapsed_s())
        counts = f"{self.solved:,} of {self.done:,} solved, {rate:,.0f} tokens/s, {active:,} active"
        self.progress(self.done, len(self.problems), "searches", f"{self.method.name}, {counts}")


def search_row(result: SearchResult, method: SearchConfig, asked: Problem) -> dict[str, Any]:
    """The row of a search.

    Args:
        result: of the search.
        method: that searched; of an adaptive one, the settings that were chosen.
        asked: the problem that it is about; the search may have had another prompt of it.
    """
    problem, grades = result.problem, grade_ends(result)
    steps = [step.text for step in result.best.state.steps] if result.best else []
    if result.stop_reason == "error":
        outcome, answer, reason = SEARCH_ERROR, "", result.error
    else:
        last = next((node.id for node in reversed(result.nodes) if node.chosen), -1)
        grade = grades[last] if last in grades else DOMAINS[problem.domain].grade(problem, steps)
        outcome, answer, reason = str(grade.outcome), grade.answer, grade.reason
    nodes = [
        {"node": node.id, **node.to_dict(), "correct": is_correct(grades.get(node.id))}
        for node in result.nodes
    ]
    return {
        "problem_id": asked.id,
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
        "first_correct": first_correct(result, grades),
        "anytime": anytime(result, grades),
        "nodes": nodes,
        "exchanges": result.exchanges,
    }


def grade_ends(result: SearchResult) -> dict[int, Grade]:
    """The grade of every terminal node, by its id."""
    problem = result.problem
    ends = [node for node in result.nodes if node.terminal]
    texts = [[step.text for step in node.state.steps] for node in ends]
    grades = grade_many(problem.domain, [(problem, steps) for steps in texts])
    return {node.id: grade for node, grade in zip(ends, grades, strict=True)}


def is_correct(grade: Grade | None) -> bool | None:
    """Whether a trajectory is right; None for one that was not graded."""
    return None if grade is None else grade.reward > 0


def anytime(result: SearchResult, grades: Mapping[int, Grade]) -> list[dict[str, Any]]:
    """What the search would have answered had its token budget ended sooner.

    A search with a smaller budget is the beginning of the one with the larger budget, and at its
    end the finished trajectory with the largest f is returned; so the answer after x tokens is the
    best terminal node that was there by then: a node's stamp is what was spent when its own action
    or rollout was sampled, not when the round of requests it belongs to was over. Where f changes
    with what comes later, as the share of votes does, the search has noted itself what led when
    (`SearchResult.leads`). Where aggregation is not min, an end that lookahead saw and the search
    did not finish may have a larger f than the answer, and leads here all the same.

    Args:
        result: of the search.
        grades: of its terminal nodes, from `grade_ends`.

    Returns:
        The moments at which that answer changes: tokens spent, and whether it is correct.
    """
    moments: list[dict[str, Any]] = []
    for tokens, node in _leads(result) if result.leads is None else result.leads:
        correct = grades[node].reward > 0
        if moments and moments[-1]["tokens"] == tokens:
            moments.pop()
        if not moments or moments[-1]["correct"] != correct:
            moments.append({"tokens": tokens, "correct": correct})
    return moments


def _leads(result: SearchResult) -> Iterator[tuple[int, int]]:
    """(tokens, node) of every terminal node whose f is larger than that of all before it."""
    best = None
    for node in sorted(result.nodes, key=lambda n: (n.tokens, n.id)):
        if node.terminal and node.f is not None and (best is None or node.f > best):
            best = node.f
            yield node.tokens, node.id


def first_correct(result: SearchResult, grades: Mapping[int, Grade]) -> int | None:
    """Policy tokens that were spent when the first correct trajectory was generated.

    Every one that is in the tree counts: one that a tree search did not take up before it ended,
    that lookahead sampled only for the h of a state, and a rollout that got no f. Those are all
    that were generated to their end, but for the ends that a tree search dropped because the value
    calls did not suffice for them. So the share of searches that have one by x tokens is what a
    choice that never errs would solve: the oracle's pass@N.

    Args:
        result: of the search.
        grades: of its terminal nodes, from `grade_ends`.

    Returns:
        Tokens, at least 0; None when no trajectory in the tree is correct.
    """
    right = [n.tokens for n in result.nodes if n.id in grades and grades[n.id].reward > 0]
    return min(right, default=None)
