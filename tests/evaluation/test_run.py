from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qstar_core.config import CountdownRanges, EvaluationConfig, RunConfig, SearchConfig
from qstar_core.domains import countdown, countdown_problems
from qstar_core.errors import UserError
from qstar_core.evaluation.run import anytime, evaluate, first_correct, grade_ends
from qstar_core.grading import Grade
from qstar_core.mdp import Problem, Step
from qstar_core.policies import Policy, Sample, SampleRequest
from qstar_core.search import Budget, Ledger, SearchResult, Tree
from qstar_core.search.replay import differences, replay
from qstar_core.store.dataset import write_table
from tests.evaluation.examples import NoisyPlayer, NoisyValue, searches


class Spy(NoisyPlayer):
    """Remembers the limits it was asked to keep, by the number of steps."""

    def __init__(self) -> None:
        self.limits: dict[bool, set[int]] = {True: set(), False: set()}

    def sample(
        self, requests: Sequence[SampleRequest], done: Callable[[int, int], None] | None = None
    ) -> list[list[Sample]]:
        for request in requests:
            self.limits[request.max_steps == 1].add(request.max_new_tokens)
        return super().sample(requests)


def test_the_limit_of_a_step_is_the_configured_one() -> None:
    config = RunConfig(evaluation=EvaluationConfig(max_step_tokens=17))
    star = next(m for m in config.evaluation.methods if m.algorithm == "astar")
    rollouts = next(m for m in config.evaluation.methods if m.algorithm == "best_of_n")
    for method, proposes in ((star, True), (rollouts, False)):
        spy = Spy()
        problems = [countdown.make_problem([13, 10, 9, 4], 24)]
        evaluate(problems, method, spy, NoisyValue(), config, lambda *_: None)
        assert not spy.limits[not proposes]
        assert (max(spy.limits[proposes]) == 17) is proposes


def result_of(*ends: tuple[str, int]) -> SearchResult:
    """A search of ``3 2 > 6`` whose trajectories are single lines, there after so many tokens."""
    problem = countdown.make_problem([3, 2], 6)
    tree = Tree(problem, SearchConfig(name="a", algorithm="astar"))
    for text, tokens in ends:
        tree.clock = tokens
        tree.rank(tree.add(tree.root, Step(text, 5, ended=True)), 0.5)
    return tree.result([], Ledger(Budget(100, 100, 100)), done=True)


RIGHT, WRONG, SWAPPED = "3 * 2 = 6 | 6 > 6", "3 + 2 = 5 | 5 > 6", "2 * 3 = 6 | 6 > 6"


def first_of(*ends: tuple[str, int]) -> int | None:
    result = result_of(*ends)
    return first_correct(result, grade_ends(result))


def test_the_first_correct_trajectory_need_not_be_the_first() -> None:
    assert first_of() is None
    assert first_of((WRONG, 10)) is None
    assert first_of((WRONG, 10), (RIGHT, 25)) == 25
    assert first_of((RIGHT, 30), (WRONG, 40), (SWAPPED, 12)) == 12


def test_the_first_correct_trajectory_is_there_before_the_first_right_answer() -> None:
    for row in searches().iter_rows(named=True):
        right = [m["tokens"] for m in row["anytime"] if m["correct"]]
        if right:
            assert row["first_correct"] <= right[0] <= row["policy_tokens"]
        if row["outcome"] == "correct":
            assert row["first_correct"] is not None


def test_votes_are_counted_in_the_order_in_which_they_were_cast() -> None:
    result = result_of((WRONG, 10), (RIGHT, 20))
    wrong, right = (node.id for node in result.nodes[1:])
    led = replace(result, leads=[(10, wrong), (30, right), (50, wrong)])
    moments = [(m["tokens"], m["correct"]) for m in anytime(led, grade_ends(led))]
    assert moments == [(10, False), (30, True), (50, False)]


def test_an_end_that_lookahead_saw_counts_though_its_state_was_never_taken_up() -> None:
    problems = countdown_problems.generate("test", 12, CountdownRanges(numbers=(3,)), seed=4)
    method = SearchConfig(name="a", algorithm="astar", heuristic="lookahead", n=1)
    given = NoisyPlayer(), NoisyValue(), RunConfig(), lambda *_: None, None
    table, _ = evaluate(problems, method, *given, Budget(10_000, 10_000, 10_000))
    seen = 0
    for row in table.to_pylist():
        orders = {node["node"]: node["order"] for node in row["nodes"]}
        ends = [n for n in row["nodes"] if n["terminal"] and orders[n["parent"]] < 0]
        right = [node["tokens"] for node in ends if node["correct"]]
        assert all(row["first_correct"] <= tokens for tokens in right)
        seen += len(right)
        assert row["finished"] == 1
        assert not [u for u in row["exchanges"]["unused"] if u["ended"]]
    assert seen


def test_a_trajectory_that_was_generated_counts_though_it_was_never_ranked() -> None:
    result = result_of((WRONG, 10), (RIGHT, 20))
    result.nodes[2].f = None
    grades = grade_ends(result)
    assert first_correct(result, grades) == 20
    assert [moment["correct"] for moment in anytime(result, grades)] == [False]


def test_a_budget_that_is_given_goes_before_that_of_the_evaluation() -> None:
    config = RunConfig(evaluation=EvaluationConfig(max_policy_tokens=400))
    star = next(m for m in config.evaluation.methods if m.algorithm == "astar")
    problems = [countdown.make_problem([13, 10, 9, 4], 24)]
    given = NoisyPlayer(), NoisyValue(), config, lambda *_: None
    usual, _ = evaluate(problems, star, *given)
    small, _ = evaluate(problems, star, *given, None, Budget(50, 10_000, 10_000))
    assert small["policy_tokens"].to_pylist()[0] <= 50 < usual["policy_tokens"].to_pylist()[0]


PROBLEMS = [
    countdown.make_problem([13, 10, 9, 4], 24),
    *countdown_problems.generate("test", 5, CountdownRanges(numbers=(4,)), seed=1),
]
METHODS = [
    SearchConfig(name="greedy", algorithm="greedy", temperature=0.0),
    SearchConfig(name="votes", algorithm="self_consistency", vote="q", n=20),
    SearchConfig(name="best-of-N", algorithm="best_of_n", n=1000),
    SearchConfig(name="beam", algorithm="beam"),
    SearchConfig(name="DVTS", algorithm="dvts"),
    SearchConfig(name="MCTS", algorithm="mcts"),
    SearchConfig(name="best-first", algorithm="best_first"),
    SearchConfig(name="A*", algorithm="astar"),
    SearchConfig(name="lookahead", algorithm="astar", heuristic="lookahead"),
    SearchConfig(name="merged", algorithm="astar", merge="state"),
    SearchConfig(name="reopening", algorithm="astar", reopen=True),
]


@pytest.mark.parametrize(
    "method",
    [*METHODS, SearchConfig(name="majority", algorithm="self_consistency", n=40)],
    ids=lambda method: method.name,
)
def test_the_answer_by_tokens_is_that_of_a_search_with_so_many(method: SearchConfig) -> None:
    problems = countdown_problems.generate("test", 12, CountdownRanges(numbers=(3,)), seed=4)
    given = problems, method, NoisyPlayer(), NoisyValue(), RunConfig(), lambda *_: None, None
    whole, _ = evaluate(*given, Budget(600, 10_000, 10_000))
    curves = whole["anytime"].to_pylist()
    assert method.algorithm == "greedy" or any(len(curve) > 1 for curve in curves)
    for tokens in (*range(10, 120, 5), 130, 157, 200, 251, 300, 347, 400, 500, 600):
        part, _ = evaluate(*given, Budget(tokens, 10_000, 10_000))
        for curve, outcome in zip(curves, part["outcome"].to_pylist(), strict=True):
            then = [moment["correct"] for moment in curve if moment["tokens"] <= tokens]
            assert (outcome == "correct") is (bool(then) and then[-1]), tokens


def rows_of(method: SearchConfig, folder: Path, policy: Policy | None = None) -> list[Any]:
    """The rows of an evaluation after they have been in a Parquet file."""
    player = policy or NoisyPlayer()
    table, _ = evaluate(PROBLEMS, method, player, NoisyValue(), RunConfig(), lambda *_: None)
    write_table(folder / "part.parquet", table)
    return pl.read_parquet(folder / "part.parquet").to_dicts()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_stored_search_replays_to_the_same_answer(method: SearchConfig, tmp_path: Path) -> None:
    for row in rows_of(method, tmp_path):
        assert differences(row, replay(row, method, "countdown")) == []


def test_nodes_carry_what_the_policy_wrote_and_the_grade(tmp_path: Path) -> None:
    [star] = [method for method in METHODS if method.name == "A*"]
    for problem, row in zip(PROBLEMS, rows_of(star, tmp_path), strict=True):
        nodes = {node["node"]: node for node in row["nodes"]}
        root = nodes.pop(0)
        unknown = ("logprob", "step_tokens", "ended", "correct")
        assert [root[name] for name in unknown] == [None] * 4
        for node in nodes.values():
            assert node["step_tokens"] > 1 and node["logprob"] is not None
            if not node["terminal"]:
                assert node["correct"] is None
                continue
            texts = []
            above = node
            while above["parent"] >= 0:
                texts.insert(0, above["text"])
                above = nodes.get(above["parent"], root)
            assert node["correct"] is (countdown.grade(problem, texts).reward > 0)
            if node["chosen"]:
                assert node["correct"] is (row["outcome"] == "correct")


def test_every_end_is_graded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    graded: list[tuple[str, tuple[str, ...]]] = []
    right = countdown.grade

    def counted(problem: Problem, steps: Sequence[str]) -> Grade:
        graded.append((problem.id, tuple(steps)))
        return right(problem, steps)

    monkeypatch.setattr(countdown, "grade", counted)
    rows = rows_of(METHODS[2], tmp_path)
    assert len(graded) == len(set(graded))
    assert len(graded) == sum(n["terminal"] for row in rows for n in row["nodes"])


class Refusing(NoisyPlayer):
    """Cannot sample anything."""

    def sample(
        self, requests: Sequence[SampleRequest], done: Callable[[int, int], None] | None = None
    ) -> list[list[Sample]]:
        raise ValueError("too long")


def test_a_search_that_failed_has_no_trace(tmp_path: Path) -> None:
    for row in rows_of(METHODS[0], tmp_path, Refusing()):
        assert row["outcome"] == "search_error" and row["reason"] == "ValueError: too long"
        assert row["nodes"] == [] and row["anytime"] == []
        with pytest.raises(UserError, match=r"left nothing to replay .* too long"):
            replay(row, METHODS[0], "countdown")


def test_progress_says_how_many_are_solved_and_under_way() -> None:
    config = RunConfig(evaluation=EvaluationConfig(active=3))
    star = next(m for m in config.evaluation.methods if m.algorithm == "astar")
    problems = countdown_problems.generate("test", 7, CountdownRanges(numbers=(3,)), seed=2)
    told: list[tuple[int, int, str, str]] = []
    table, figures = evaluate(
        problems, star, NoisyPlayer(), NoisyValue(), config, lambda *event: told.append(event)
    )
    solved = table["outcome"].to_pylist().count("correct")
    done, total, unit, note = told[-1]
    assert (done, total, unit) == (7, 7, "searches")
    assert re.fullmatch(rf"A\*, {solved} of 7 solved, [\d,]+ tokens/s, [123] active", note)
    assert [event[0] for event in told] == sorted(event[0] for event in told)
    assert "3 active" in told[0][3]
    assert figures["tokens"] == sum(table["policy_tokens"].to_pylist())
    assert table["problem_id"].to_pylist() == [problem.id for problem in problems]


def test_rows_do_not_depend_on_how_many_are_active() -> None:
    problems = countdown_problems.generate("test", 6, CountdownRanges(numbers=(3,)), seed=3)
    tables = []
    for active in (1, 4):
        config = RunConfig(evaluation=EvaluationConfig(active=active))
        star = next(m for m in config.evaluation.methods if m.algorithm == "astar")
        table, _ = evaluate(problems, star, NoisyPlayer(), NoisyValue(), config, lambda *_: None)
        tables.append(table)
    assert tables[0].equals(tables[1])
