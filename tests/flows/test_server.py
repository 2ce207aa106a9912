from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from flows import server
from qstar_core.errors import UserError
from tests.processes import ended, wait_until

from .conftest import PATIENT, ROOT, Qstar


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "")  # so that what `connect` sets is undone
    monkeypatch.delenv("PREFECT_API_URL")
    return tmp_path


def test_up_and_down(home: Path, qstar: Qstar) -> None:
    env = {"PREFECT_HOME": str(home)}
    try:
        started = qstar("up", "--port", "0", **env)
        assert started.returncode == 0, started.stderr
        state = json.loads((home / server.STATE).read_text())
        assert state["ui"] in started.stdout
        # a server that has just begun may be too busy to answer at once
        wait_until(lambda: server.state() == state, "the server answers")
        assert "was running already" in qstar("up", **env).stdout
        assert server.connect() is None
        assert os.environ["PREFECT_API_URL"] == state["api"]
    finally:
        stopped = qstar("down", **env)
    assert "Stopped" in stopped.stdout
    wait_until(lambda: ended(state["pid"]), "the server ends")
    assert server.state() is None
    assert "No server" in qstar("down", **env).stdout


def test_taken_port(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="is taken"):
            server.up(taken.getsockname()[1])
    assert not (home / server.STATE).exists()


def test_a_state_file_of_another_process_is_not_believed(home: Path) -> None:
    state = {"pid": os.getpid(), "api": "http://127.0.0.1:9/api", "ui": "http://127.0.0.1:9"}
    (home / server.STATE).write_text(json.dumps(state))
    assert server.state() is None
    assert server.down() is False
    assert psutil.pid_exists(os.getpid())


def test_a_server_that_does_not_start_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    embedded = server.Embedded()
    with pytest.raises(UserError, match="ended with 1"):
        embedded.wait()


def test_the_users_server_is_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert server.connect() is None


def test_embedded_server_dies_with_a_killed_parent(home: Path) -> None:
    program = (
        "from flows import server, settings; settings.apply(); e = server.Embedded()\n"
        "print(e._process.pid, flush=True); e.wait(); print('up', flush=True)\n"
        "import threading; threading.Event().wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **PATIENT},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert parent.stdout.readline() == "up\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: ended(pid), "the server ends with its parent")


def test_up_refuses_an_impossible_port() -> None:
    from flows.cli import app

    assert CliRunner().invoke(app, ["up", "--port", "70000"]).exit_code == 2
