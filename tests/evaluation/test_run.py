from __future__ import annotations

from collections.abc import Callable, Sequence

from qstar_core.config import EvaluationConfig, RunConfig, SearchConfig
from qstar_core.domains import countdown
from qstar_core.evaluation.run import evaluate, first_correct
from qstar_core.mdp import Step
from qstar_core.policies import Sample, SampleRequest
from qstar_core.search import Budget, Ledger, SearchResult, Tree
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


def test_the_first_correct_trajectory_need_not_be_the_first() -> None:
    assert first_correct(result_of()) is None
    assert first_correct(result_of((WRONG, 10))) is None
    assert first_correct(result_of((WRONG, 10), (RIGHT, 25))) == 25
    assert first_correct(result_of((RIGHT, 30), (WRONG, 40), (SWAPPED, 12))) == 12


def test_the_first_correct_trajectory_is_there_before_the_first_right_answer() -> None:
    for row in searches().iter_rows(named=True):
        right = [m["tokens"] for m in row["anytime"] if m["correct"]]
        if right:
            assert row["first_correct"] <= right[0] <= row["policy_tokens"]
        if row["outcome"] == "correct":
            assert row["first_correct"] is not None


def test_a_budget_that_is_given_goes_before_that_of_the_evaluation() -> None:
    config = RunConfig(evaluation=EvaluationConfig(max_policy_tokens=400))
    star = next(m for m in config.evaluation.methods if m.algorithm == "astar")
    problems = [countdown.make_problem([13, 10, 9, 4], 24)]
    given = NoisyPlayer(), NoisyValue(), config, lambda *_: None
    usual, _ = evaluate(problems, star, *given)
    small, _ = evaluate(problems, star, *given, Budget(50, 10_000, 10_000))
    assert small["policy_tokens"].to_pylist()[0] <= 50 < usual["policy_tokens"].to_pylist()[0]
