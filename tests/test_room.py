from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core import room
from qstar_core.config import RunConfig, RuntimeConfig
from qstar_core.errors import UserError
from qstar_core.stage import Stage

Usage = namedtuple("Usage", "total used free")
POLICY = "reference:countdown-policy"


def stage(out: Path, name: str) -> Stage:
    return Stage(name, "a" * 24, str(out / name / ("a" * 24)), {}, {})


def config(out: Path, **runtime: float) -> RunConfig:
    return RunConfig(out=str(out), runtime=RuntimeConfig(**runtime))  # type: ignore[arg-type]


@given(st.integers(0, 10**10), st.integers(0, 10**9), st.floats(0.001, 5.0))
def test_a_stage_starts_exactly_where_its_estimate_leaves_the_minimum(
    free: int, tokens: int, minimum: float
) -> None:
    out = Path("/")
    needed = tokens * room.BYTES_PER_TOKEN + minimum * 1e9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free))
        try:
            room.check_disk(stage(out, "rollouts"), config(out, min_free_gb=minimum), tokens)
            assert free >= needed
        except UserError as error:
            assert free < needed
            assert "qstar gc OUT" in error.next_step and "min_free_gb" in error.what


def test_a_training_needs_its_weights_several_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = room.weights(room.resolve_checkpoint(POLICY, "policy.path"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, int(1e9 + 3 * size)))
    room.check_disk(stage(tmp_path, "labels"), config(tmp_path), 0)
    with pytest.raises(UserError, match=r"qvm: .* GB are free below"):
        room.check_disk(stage(tmp_path, "qvm"), config(tmp_path), 0)


def test_too_many_workers_for_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = room.weights(room.resolve_checkpoint(POLICY, "policy.path"))
    monkeypatch.setattr(room, "available_memory", lambda: 2.5 * size)
    monkeypatch.setattr(room, "GPU", tmp_path / "no-gpu")
    room.check_memory(stage(tmp_path, "rollouts"), config(tmp_path, workers=2))
    with pytest.raises(UserError, match="in each of its 3 worker") as caught:
        room.check_memory(stage(tmp_path, "rollouts"), config(tmp_path, workers=3))
    assert caught.value.next_step.startswith("add --set runtime.workers=2")
    with pytest.raises(UserError, match="in each of its 1 worker"):
        room.check_memory(stage(tmp_path, "qvm"), config(tmp_path))
    monkeypatch.setattr(room, "available_memory", lambda: 0.5 * size)
    with pytest.raises(UserError) as caught:  # fewer workers would not do either
        room.check_memory(stage(tmp_path, "rollouts"), config(tmp_path, workers=3))
    assert "runtime.workers" not in caught.value.next_step


@pytest.mark.parametrize(
    ("where", "finished", "written"),
    [
        ("tmp_path", 0, 10),
        ("tmp_path", 7, 3),
        ("tmp_path", 10, 0),
        ("bucket", 0, 2),
        ("bucket", 9, 1),
    ],
)
def test_only_what_will_be_written_counts(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    finished: int,
    written: int,
) -> None:
    shard = 10**6  # tokens
    its = replace(stage(tmp_path, "labels"), uri=f"{request.getfixturevalue(where)}/labels")
    chosen, estimate = config(tmp_path, workers=2), {"policy_tokens": 10 * shard, "shards": 10}
    needed = int(1e9) + written * shard * room.BYTES_PER_TOKEN
    for free, fits in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: Usage(0, 0, free))
        try:
            room.check_room(its, chosen, estimate, finished)
            assert fits
        except UserError:
            assert not fits


def test_a_limit_of_zero_looks_at_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 0))
    estimate = {"policy_tokens": 10**12, "shards": 1}
    room.check_room(stage(tmp_path, "rollouts"), config(tmp_path, min_free_gb=0.0), estimate)


@pytest.mark.parametrize(("limit", "left"), [("3000", 2000.0), ("max", None), ("500", 0.0)])
def test_a_containers_limit_counts(tmp_path: Path, limit: str, left: float | None) -> None:
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text("1000\n")
    found = room.available_memory(tmp_path)
    assert found == left if left is not None else found > 1e6
