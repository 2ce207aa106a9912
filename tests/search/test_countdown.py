"""End to end on the countdown domain: every legal move proposed, the exact Q* as value model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qstar_core.config import CountdownRanges, SearchConfig
from qstar_core.domains import countdown, countdown_problems
from qstar_core.grading import Outcome
from qstar_core.mdp import Problem
from qstar_core.policies.scripted import ScriptedPolicy
from qstar_core.search.budget import Budget
from qstar_core.search.driver import run
from qstar_core.search.trace import SearchResult
from tests.search.trees import AMPLE

PROBLEMS = [
    *countdown_problems.generate("test", 12, CountdownRanges(numbers=(3,)), seed=1),
    *countdown_problems.generate("test", 4, CountdownRanges(numbers=(4,)), seed=1),
    countdown.make_problem([3, 3, 8, 8], 24),
]


def legal_moves(problem: Problem) -> dict[str, list[tuple[str, float]]]:
    """All states of a problem with all legal lines, each as likely as the others."""
    numbers, target = countdown.start(problem)
    table: dict[str, list[tuple[str, float]]] = {}

    def visit(prompt: str, numbers: countdown.Numbers) -> None:
        table[prompt] = []
        for operator, left, right, rest in countdown.moves(numbers):
            text = countdown.line(operator, left, right, rest, target)
            text += "\n" if len(rest) > 1 else ""
            table[prompt].append((text, 1.0))
            if len(rest) > 1:
                visit(prompt + text, rest)
        if not table[prompt]:  # no result of any operation can be represented
            table[prompt] = [("stuck", 1.0)]

    visit(problem.prompt, numbers)
    return table


class ExactValue:
    """Q* of the last line of a text."""

    fingerprint = "exact"

    def __init__(self) -> None:
        self.problems = {problem.prompt: problem for problem in PROBLEMS}

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        values = []
        for text in texts:
            prompt, _, lines = text.partition("\n")
            problem = self.problems[prompt + "\n"]
            values.append(countdown.q_star(problem, lines.splitlines())[-1])
        return values


@pytest.fixture(scope="module")
def policy() -> ScriptedPolicy:
    table: dict[str, list[tuple[str, float]]] = {}
    for problem in PROBLEMS:
        table |= legal_moves(problem)
    return ScriptedPolicy(table)


def solved(results: list[SearchResult]) -> list[bool]:
    return [
        result.best is not None
        and countdown.grade(result.problem, [step.text for step in result.best.state.steps]).outcome
        is Outcome.CORRECT
        for result in results
    ]


@pytest.mark.parametrize("heuristic", ["edge", "lookahead"])
@pytest.mark.parametrize("reward", ["rules", "none"])
def test_astar_solves_every_solvable_problem(
    policy: ScriptedPolicy, heuristic: str, reward: str
) -> None:
    fields = {"heuristic": heuristic, "reward": reward, "k": 200, "n": 1}
    config = SearchConfig.model_validate({"name": "A*", "algorithm": "astar", **fields})
    results = run(PROBLEMS, config, AMPLE, policy, ExactValue(), run_seed=0)
    assert [result.error for result in results] == [""] * len(PROBLEMS)
    assert all(solved(results))
    for result in results:
        assert result.best is not None
        assert result.best.score == (2.0 if reward == "rules" else 1.0)


def test_astar_solves_more_than_best_of_n_and_greedy_at_equal_tokens(
    policy: ScriptedPolicy,
) -> None:
    budget = Budget(policy_tokens=600, value_calls=10_000, expansions=10_000)
    counts = []
    for fields in (
        {"algorithm": "astar", "k": 12, "n": 6},
        {"algorithm": "best_of_n", "n": 1000},
        {"algorithm": "greedy"},
    ):
        config = SearchConfig.model_validate({"name": "m", **fields})
        results = run(PROBLEMS, config, budget, policy, ExactValue(), run_seed=0)
        assert all(result.policy_tokens <= 600 for result in results)
        counts.append(sum(solved(results)))
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize("heuristic", ["edge", "lookahead"])
def test_transpositions_meet_when_states_are_merged(policy: ScriptedPolicy, heuristic: str) -> None:
    some = PROBLEMS[:12]  # of three numbers: searched to the end
    apart, met = (
        run(
            some,
            SearchConfig.model_validate(
                {"name": "m", "algorithm": "astar", "k": 100, "n": 10**6, "merge": merge}
                | {"heuristic": heuristic}
            ),
            AMPLE,
            policy,
            ExactValue(),
            run_seed=0,
        )
        for merge in ("text", "state")
    )
    for a, b in zip(apart, met, strict=True):
        assert b.best is not None and a.best is not None
        assert b.best.score == a.best.score
        walked = [n for n in b.nodes if n.order >= 0 and not n.terminal]
        states = [
            countdown.canonical(b.problem, [step.text for step in node.state.steps])
            for node in walked
        ]
        assert len(states) == len(set(states))
    assert sum(r.expansions for r in met) < sum(r.expansions for r in apart)
