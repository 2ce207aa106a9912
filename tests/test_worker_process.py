from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from qstar_core import worker_process as process
from tests.processes import PATIENCE_S


def test_the_clock_runs_from_the_last_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    now, fired = [0.0], threading.Event()
    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with process.StallWatch(0.05, fired.set) as watch:
        now[0] = 0.04
        watch.restart()
        now[0] = 0.08
        assert not fired.wait(0.2)
        assert not watch.expired
        now[0] = 0.1
        assert fired.wait(PATIENCE_S)
        assert watch.expired


def test_a_clock_that_is_no_longer_needed_does_not_fire(monkeypatch: pytest.MonkeyPatch) -> None:
    now, fired = [0.0], threading.Event()
    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with process.StallWatch(0.05, fired.set):
        pass
    now[0] = 1.0
    assert not fired.wait(0.2)
