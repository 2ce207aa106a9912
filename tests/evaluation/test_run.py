from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from qstar_core.config import CountdownRanges, EvaluationConfig, RunConfig
from qstar_core.domains import countdown, countdown_problems
from qstar_core.evaluation.run import evaluate
from qstar_core.policies import Sample, SampleRequest
from tests.evaluation.examples import NoisyPlayer, NoisyValue


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


def test_progress_says_how_many_are_solved_and_under_way() -> None:
    config = RunConfig(evaluation=EvaluationConfig(active=3))
    star = next(m for m in config.evaluation.methods if m.algorithm == "astar")
    problems = countdown_problems.generate("test", 7, CountdownRanges(numbers=3), seed=2)
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
    problems = countdown_problems.generate("test", 6, CountdownRanges(numbers=3), seed=3)
    tables = []
    for active in (1, 4):
        config = RunConfig(evaluation=EvaluationConfig(active=active))
        star = next(m for m in config.evaluation.methods if m.algorithm == "astar")
        table, _ = evaluate(problems, star, NoisyPlayer(), NoisyValue(), config, lambda *_: None)
        tables.append(table)
    assert tables[0].equals(tables[1])
