from __future__ import annotations

from collections.abc import Callable, Sequence

from qstar_core.config import EvaluationConfig, RunConfig
from qstar_core.domains import countdown
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
