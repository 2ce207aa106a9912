from __future__ import annotations

import pytest

from qstar_core.mdp import State, Step
from qstar_core.search.requests import (
    Drawn,
    Propose,
    Proposed,
    Rollout,
    Score,
    distinct,
    propose,
    rollout,
    score,
)
from tests.search.trees import make_problem

ROOT = State(make_problem())


def test_helpers_yield_requests_and_return_answers() -> None:
    step = Step("a\n", 2)
    paths, one = [Drawn((step,), 2)], Proposed(step, 2)
    asking = propose([ROOT, ROOT], 3)
    assert next(asking) == [Propose(ROOT, 3), Propose(ROOT, 3)]
    with pytest.raises(StopIteration) as stop:
        asking.send([[one], []])
    assert stop.value.value == [[one], []]
    judging = score([(ROOT, [step])])
    assert next(judging) == [Score(ROOT, (step,))]
    rolling = rollout(ROOT, 2, temperature=0.0)
    assert next(rolling) == [Rollout(ROOT, 2, 0.0)]
    with pytest.raises(StopIteration) as stop:
        rolling.send([paths])
    assert stop.value.value == paths


def test_asking_for_nothing_asks_nobody() -> None:
    for asking in (propose([], 3), score([])):
        with pytest.raises(StopIteration) as stop:
            next(asking)
        assert stop.value.value == []


def test_distinct_keeps_the_first_of_equal_texts() -> None:
    steps = [Step("a", 1), Step("b", 1), Step("a", 5), Step("a", 1, ended=True)]
    proposed = [Proposed(step, spent) for step, spent in zip(steps, (1, 2, 7, 8), strict=True)]
    assert distinct(proposed) == [proposed[0], proposed[1], proposed[3]]
