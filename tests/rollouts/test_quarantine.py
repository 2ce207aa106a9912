from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.config import CountdownRanges
from qstar_core.domains import countdown_problems
from qstar_core.errors import EngineUnavailable, RequestFailed, UserError
from qstar_core.mdp import Problem
from qstar_core.rollouts.figures import check_quarantined, combined
from qstar_core.rollouts.quarantine import Hints, sample_shard

PROBLEMS = countdown_problems.generate("train", 16, CountdownRanges(numbers=(3,)), seed=0)


class Engine:
    """Fails whenever one of the poisonous problems is in the batch."""

    def __init__(self, poison: dict[str, Exception], mended_after: int = 1_000) -> None:
        self.poison = poison
        self.mended_after = mended_after
        self.calls: list[list[str]] = []

    def __call__(self, problems: Sequence[Problem]) -> pa.Table:
        self.calls.append([p.id for p in problems])
        alone = sum(len(ids) == 1 for ids in self.calls)
        for problem in problems:
            if problem.id in self.poison and alone < self.mended_after:
                raise self.poison[problem.id]
        return pa.table({"problem_id": [p.id for p in problems]})


def ids(parts: list[pa.Table]) -> list[str]:
    return [value for part in parts for value in part["problem_id"].to_pylist()]


@given(st.sets(st.integers(0, 15), max_size=8))
def test_every_other_problem_keeps_its_rows_and_its_place(poisonous: set[int]) -> None:
    engine = Engine({PROBLEMS[k].id: RuntimeError(f"no {k}") for k in poisonous})
    parts, quarantined = sample_shard(PROBLEMS, engine, max_share=0.5, retries=1)
    assert ids(parts) == [p.id for k, p in enumerate(PROBLEMS) if k not in poisonous]
    assert [q["problem_id"] for q in quarantined] == [PROBLEMS[k].id for k in sorted(poisonous)]
    assert all(q["error"].startswith("RuntimeError: no ") for q in quarantined)


def test_healthy_shard_takes_one_call() -> None:
    engine = Engine({})
    assert ids(sample_shard(PROBLEMS, engine, 0.1, retries=2)[0]) == [p.id for p in PROBLEMS]
    assert len(engine.calls) == 1
    assert sample_shard([], engine, 0.1, retries=2) == ([], [])


def test_engine_error_is_tried_again_a_users_error_is_not() -> None:
    bad = PROBLEMS[3].id
    flaky = Engine({bad: RuntimeError("hiccup")}, mended_after=2)
    assert sample_shard(PROBLEMS[3:4], flaky, 1.0, retries=2)[1] == []
    long = Engine({bad: UserError("a prompt of 900 tokens")})
    [found] = sample_shard(PROBLEMS[3:4], long, 1.0, retries=2)[1]
    assert found["error"] == "a prompt of 900 tokens"
    assert len(long.calls) == 1


def test_too_many_are_no_poison() -> None:
    everything = {p.id: RuntimeError("CUDA error") for p in PROBLEMS}
    with pytest.raises(RuntimeError, match=r"more than 1 problems of the shard.*CUDA error"):
        sample_shard(PROBLEMS, Engine(everything), 0.1, retries=0)
    long = {p.id: UserError("too long", next_step="use a longer context") for p in PROBLEMS}
    with pytest.raises(UserError, match="too long") as caught:
        sample_shard(PROBLEMS, Engine(long), 0.1, retries=0)
    assert caught.value.next_step == "use a longer context, or raise rollouts.max_quarantined"


@pytest.mark.parametrize("error", [OSError(28, "No space left"), EngineUnavailable("all gone")])
def test_what_no_problem_is_at_fault_for_ends_the_shard_at_once(error: Exception) -> None:
    engine = Engine({PROBLEMS[0].id: error})
    with pytest.raises(type(error)):
        sample_shard(PROBLEMS, engine, 1.0, retries=2)
    assert len(engine.calls) == 1


def test_careful_run_marks_where_it_stands_and_takes_the_suspect_first(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    seen: list[str] = []

    def sample(problems: Sequence[Problem]) -> pa.Table:
        seen.append(mark.read_text())
        return pa.table({"problem_id": [p.id for p in problems]})

    suspect, aside = PROBLEMS[5].id, PROBLEMS[7].id
    hints: Hints = {
        "mark": str(mark),
        "careful": True,
        "suspect": suspect,
        "quarantined": {aside: "the worker ended with signal SIGKILL"},
    }
    parts, quarantined = sample_shard(PROBLEMS, sample, 0.1, 0, hints)
    left = [p.id for p in PROBLEMS if p.id != aside]
    assert ids(parts) == left
    assert seen == [suspect, *(k for k in left if k != suspect)]
    assert mark.read_text() == ""
    assert [q["problem_id"] for q in quarantined] == [aside]
    assert "SIGKILL" in quarantined[0]["error"]


def test_request_that_failed_is_tried_again() -> None:
    bad = PROBLEMS[3].id
    flaky = Engine({bad: RequestFailed("500, 9 times")}, mended_after=2)
    assert sample_shard(PROBLEMS[3:4], flaky, 1.0, retries=2)[1] == []


@pytest.mark.parametrize(("missing", "of", "fine"), [(0, 5, True), (1, 5, True), (2, 5, False)])
def test_a_data_set_may_lack_few_problems(missing: int, of: int, fine: bool) -> None:
    lacking = [{"problem_id": "x", "prompt": "p", "error": "too long"}] * missing
    if fine:
        check_quarantined(lacking, of, 0.1)
    else:
        with pytest.raises(UserError, match=r"2 of 5 problems cannot be sampled.*too long"):
            check_quarantined(lacking, of, 0.1)


def test_a_data_set_does_not_lack_all_problems() -> None:
    with pytest.raises(UserError, match="1 of 1"):
        check_quarantined([{"error": "e"}], 1, 1.0)


def test_figures_of_the_data_set() -> None:
    bad = {"problem_id": "x", "prompt": "p", "error": "e"}
    receipts = [
        {"figures": {"tokens": 10, "seconds": 1.25}},
        {"figures": {"tokens": 5, "seconds": 0.5, "quarantined": [bad]}},
    ]
    assert combined(receipts) == {"tokens": 15, "seconds": 1.75, "quarantined": [bad]}
