from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qstar_core.errors import UserError
from qstar_core.store import cache
from qstar_core.values import trackers
from qstar_core.values.train import Surroundings

from .labelled import train


def test_tensorboard_gets_loss_rate_speed_and_memory(tmp_path: Path) -> None:
    uri = str(tmp_path / "out" / "qvm" / "0123")
    following = trackers.following(["tensorboard"], uri)
    train(tmp_path / "qvm", Surroundings(callbacks=following), epochs=3.0)
    events = EventAccumulator(str(tmp_path / "out" / "logs" / "0123"))
    events.Reload()
    names = {"loss", "learning_rate", "tokens_per_second", "memory_mib", "grad_norm"}
    assert {f"train/{name}" for name in names} <= set(events.Tags()["scalars"])
    rates = [e.value for e in events.Scalars("train/learning_rate")]
    assert rates == sorted(rates)[::-1] or rates[0] < rates[1]
    assert all(e.value > 0 for e in events.Scalars("train/tokens_per_second"))


def test_events_of_a_run_on_s3_lie_in_the_cache() -> None:
    found = trackers.event_folder("s3://bucket/out/qvm/0123/")
    assert found == cache.root() / "logs" / "0123"


def test_nobody_need_follow(tmp_path: Path) -> None:
    assert trackers.following([], str(tmp_path)) == []


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_said_with_the_command(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda module: None)
    with pytest.raises(UserError, match=f"package {name} is not installed") as caught:
        trackers.following([name], str(tmp_path))
    assert f"pip install {name}" in caught.value.next_step
