from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qstar_core.errors import WorkerDied, WorkerError
from tasks import poison
from tasks.poison import guarded
from tasks.workers import WorkerPool
from tests.processes import PATIENCE_S

SPEC = {"stage": "rollouts", "uri": "/nowhere", "shard": "a"}


@pytest.fixture(autouse=True)
def no_case() -> Iterator[None]:
    poison._cases.clear()
    yield
    assert not poison._cases


class Worker:
    """Dies at the poisonous problems; like the real one it takes them in order, the mark before."""

    def __init__(self, problems: str, poisonous: str) -> None:
        self.problems, self.poisonous = problems, poisonous
        self.starts = 0

    def __call__(self, spec: dict[str, Any]) -> dict[str, Any]:
        self.starts += 1
        hints = spec["hints"]
        left = [p for p in self.problems if p not in hints["quarantined"]]
        if not hints["careful"]:
            if set(left) & set(self.poisonous):
                raise WorkerDied("the worker ended with signal SIGSEGV\nstack")
            return {"quarantined": hints["quarantined"]}
        for problem in sorted(left, key=lambda p: p != hints.get("suspect")):
            Path(hints["mark"]).write_text(problem)
            if problem in self.poisonous:
                raise WorkerDied("the worker ended with signal SIGSEGV\nstack")
        return {"quarantined": hints["quarantined"]}


def attempts(worker: Any, retries: int) -> dict[str, Any]:
    """What Prefect does: tries again after every error."""
    for _ in range(retries):
        try:
            return guarded(SPEC, worker)
        except WorkerDied:
            continue
    return guarded(SPEC, worker)


@pytest.mark.parametrize("poisonous", ["c", "a", "cf", "abf"])
def test_two_retries_find_any_number_of_poisonous_problems(poisonous: str) -> None:
    worker = Worker("abcdef", poisonous)
    quarantined = attempts(worker, retries=2)["quarantined"]
    assert quarantined == dict.fromkeys(poisonous, "the worker ended with signal SIGSEGV")
    assert worker.starts == 3 * len(poisonous) + 1


def test_chance_death_quarantines_nothing() -> None:
    def dies_once(spec: dict[str, Any]) -> dict[str, Any]:
        if not spec["hints"]["careful"]:
            raise WorkerDied("signal SIGKILL")
        return spec["hints"]

    assert attempts(dies_once, retries=1)["quarantined"] == {}


def test_suspect_that_passes_is_not_quarantined() -> None:
    deaths = iter(["", "c", ""])

    def worker(spec: dict[str, Any]) -> dict[str, Any]:
        at = next(deaths, None)
        if at is None:
            return spec["hints"]
        Path(spec["hints"]["mark"]).write_text(at)
        raise WorkerDied("signal SIGKILL")

    assert attempts(worker, retries=3)["quarantined"] == {}


def test_worker_that_always_dies_before_the_first_problem_ends_the_shard() -> None:
    def worker(spec: dict[str, Any]) -> dict[str, Any]:
        raise WorkerDied("the worker ended with exit code 1")

    with pytest.raises(WorkerDied):
        attempts(worker, retries=2)
    poison._cases.clear()


def test_an_engine_that_dies_at_ever_other_problems_ends_the_shard() -> None:
    starts = 0

    def worker(spec: dict[str, Any]) -> dict[str, Any]:
        nonlocal starts
        starts += 1
        at = "poison" if starts < 4 else f"other {starts}"
        if spec["hints"]["careful"]:
            Path(spec["hints"]["mark"]).write_text(at)
        raise WorkerDied("signal SIGSEGV")

    with pytest.raises(WorkerDied):
        attempts(worker, retries=2)
    assert starts < 15
    poison.forget()


def test_other_errors_and_other_stages_pass_through() -> None:
    def fails(spec: dict[str, Any]) -> dict[str, Any]:
        raise WorkerError("ValueError: a bug")

    with pytest.raises(WorkerError, match="a bug"):
        guarded(SPEC, fails)
    poison._cases.clear()
    assert guarded({**SPEC, "stage": "qvm"}, lambda spec: spec) == {**SPEC, "stage": "qvm"}


def test_mark_file_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    guarded(SPEC, lambda spec: spec)
    assert list(tmp_path.iterdir()) == []


def test_real_processes_that_are_killed() -> None:
    fake = str(Path(__file__).parent / "fake_worker.py")
    spec = {**SPEC, "do": "poison", "problems": list("abcdef"), "poisonous": ["b", "e"]}
    hints: list[dict[str, Any]] = []

    def run(spec: dict[str, Any]) -> dict[str, Any]:
        hints.append(spec["hints"])
        return pool.run(spec, PATIENCE_S)

    with WorkerPool(1, command=[fake]) as pool:
        for _ in range(2):
            with pytest.raises(WorkerDied, match="SIGKILL"):
                guarded(spec, run)
        assert guarded(spec, run)["rows"] == 1
    assert hints[-1]["quarantined"] == dict.fromkeys("be", "the worker ended with signal SIGKILL")
    assert len(hints) == 7


@pytest.mark.parametrize("stage", ["rollouts", "pool_states", "pool_mcts"])
def test_every_stage_that_samples_gets_hints(stage: str) -> None:
    seen: list[dict[str, Any]] = []
    guarded({**SPEC, "stage": stage}, lambda spec: seen.append(spec) or {})
    assert "hints" in seen[0]


def test_other_stages_get_none() -> None:
    seen: list[dict[str, Any]] = []
    guarded({**SPEC, "stage": "labels_1"}, lambda spec: seen.append(spec) or {})
    assert "hints" not in seen[0]
