from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from flows.remarks import remarks
from qstar_core.config import CountdownRanges, RolloutsConfig
from qstar_core.domains import countdown_problems
from qstar_core.policies import Sample, SampleRequest
from qstar_core.policies.transformers import TransformersPolicy
from qstar_core.rollouts import drift
from qstar_core.rollouts.figures import combined, drift_in_words
from qstar_core.rollouts.sample import sample_rollouts
from tests.models import tiny_policy

PROBLEMS = countdown_problems.generate("train", 6, CountdownRanges(numbers=(3,)), seed=0)
CONFIG = RolloutsConfig(samples=4, max_new_tokens=40, drift_requests=10)


class Drifting:
    """A real policy that answers otherwise when it is asked for few samples."""

    batch_independent = False

    def __init__(self, inner: TransformersPolicy, changed: int) -> None:
        self.inner, self.changed, self.asked = inner, changed, list[SampleRequest]()
        self.fingerprint = inner.fingerprint

    def sample(self, requests: Sequence[SampleRequest], done: Any = None) -> list[list[Sample]]:
        answers = self.inner.sample(requests, done)
        if len(requests) > len(PROBLEMS):
            self.asked = list(requests)
            for k in range(self.changed):
                [first] = answers[k]
                step = replace(first.steps[0], text=first.steps[0].text + "?")
                answers[k] = [replace(first, steps=(step, *first.steps[1:]))]
        return answers


@pytest.fixture(scope="module")
def real() -> TransformersPolicy:
    return TransformersPolicy(tiny_policy(), "float64", "cpu", 64)


@pytest.mark.parametrize("changed", [0, 1, 4])
def test_samples_that_come_out_different_are_counted(
    real: TransformersPolicy, changed: int
) -> None:
    policy = Drifting(real, changed)
    table = sample_rollouts(PROBLEMS, policy, CONFIG, seed=3)
    found = drift.measure(table, PROBLEMS, policy, CONFIG, seed=3)
    assert found == {"replayed": 10, "differ": changed}
    rows = {(row["seed"]) for row in table.to_pylist()}
    assert all(len(ask.seeds) == 1 and ask.seeds[0] in rows for ask in policy.asked)
    assert len({ask.seeds for ask in policy.asked}) == 10


def test_no_more_are_drawn_than_there_are(real: TransformersPolicy) -> None:
    config = RolloutsConfig(samples=2, max_new_tokens=10, drift_requests=99)
    table = sample_rollouts(PROBLEMS[:2], real, config, seed=0)
    assert drift.measure(table, PROBLEMS, real, config, 0) == {"replayed": 4, "differ": 0}


def test_the_drift_of_shards_adds_up_and_is_said() -> None:
    shards = [{"drift": {"replayed": 32, "differ": n}, "tokens": 5, "seconds": 1} for n in (0, 3)]
    without = {"tokens": 5, "seconds": 1}
    figures = combined({"figures": each} for each in [*shards, without])
    assert figures["drift"] == {"replayed": 64, "differ": 3}
    assert "3 of 64 samples differed" in drift_in_words(figures)
    assert remarks({"figures": figures, "uri": "x"}) == [drift_in_words(figures)]
    assert "drift" not in combined([{"figures": without}])
    assert drift_in_words({}) == ""
