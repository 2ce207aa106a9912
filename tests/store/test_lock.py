from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from qstar_core.errors import UserError
from qstar_core.store import dataset, lock, open_store
from tests.processes import PATIENCE_S, ended

from .test_dataset import make_shard

ROOT = Path(__file__).parents[2]


def no_wait(holder: str) -> None:
    raise AssertionError(f"nobody should hold the lock, but: {holder}")


class Waiter(threading.Thread):
    """Waits for the lock of a data set in a thread of its own."""

    def __init__(self, uri: str) -> None:
        super().__init__(daemon=True)
        self.uri = uri
        self.holders: list[str] = []
        self.waits = threading.Event()
        self.start()

    def on_wait(self, holder: str) -> None:
        self.holders.append(holder)
        self.waits.set()

    def run(self) -> None:
        with dataset.making(self.uri, self.on_wait):
            pass


def test_a_second_run_waits_and_says_once_for_whom(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    with dataset.making(uri, no_wait):
        waiter = Waiter(uri)
        assert waiter.waits.wait(PATIENCE_S)
        waiter.join(3 * lock.POLL_S)
        assert waiter.is_alive()
    waiter.join(PATIENCE_S)
    assert not waiter.is_alive()
    (holder,) = waiter.holders
    assert holder.startswith(f"pid {os.getpid()} on ")
    assert " since 2" in holder


def test_the_wait_ends_when_the_data_set_is_published(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    with dataset.making(uri, no_wait):
        waiter = Waiter(uri)
        assert waiter.waits.wait(PATIENCE_S)
        manifest = dataset.publish(uri, {}, [make_shard(uri, "a", 3)])
        waiter.join(PATIENCE_S)
        assert not waiter.is_alive()
    dataset.clear_rubbish(uri, manifest)
    assert open_store(uri).names() == ["manifest.json", "part-a.parquet", "shards/a.json"]
    assert not (tmp_path / "set" / ".writing").exists()


def test_a_published_data_set_is_not_locked(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    dataset.publish(uri, {}, [make_shard(uri, "a", 3)])
    with dataset.making(uri, no_wait):
        assert not (tmp_path / "set" / ".writing").exists()


def test_the_lock_is_no_data(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    with dataset.making(uri, no_wait):
        assert open_store(uri).names() == []
        assert dataset.read_manifest(uri) is None


def test_kill_nine_releases_the_lock_although_a_child_lives_on(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    program = (
        "import subprocess, sys; from qstar_core.store import dataset\n"
        f"with dataset.making({uri!r}, print):\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'])\n"
        "    print(child.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,  # of the child too: it lives until this end is closed
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert holder.stdout and holder.stdin
    child = int(holder.stdout.readline())
    waiter = Waiter(uri)
    assert waiter.waits.wait(PATIENCE_S)
    assert waiter.holders[0].startswith(f"pid {holder.pid} on ")
    holder.kill()
    holder.wait()
    waiter.join(PATIENCE_S)
    assert not waiter.is_alive()
    assert not ended(child)
    holder.stdin.close()
    holder.stdout.close()


def test_a_lock_file_that_was_removed_while_it_was_waited_for_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "set" / "lock"
    with lock.exclusive(path, lambda: False, no_wait):
        path.unlink()
        path.parent.rmdir()
        with lock.exclusive(path, lambda: False, no_wait):
            assert path.exists()


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    said: list[str] = []
    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(lock.log, "warning", said.append)
    with lock.exclusive(tmp_path / "lock", lambda: False, no_wait):
        pass
    assert "no locks" in said[0]


def test_no_shard_is_put_into_a_published_data_set(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    manifest = dataset.publish(uri, {}, [make_shard(uri, "a", 3)])
    with pytest.raises(UserError, match="published already: shard a is not put") as caught:
        make_shard(uri, "a", 4)
    assert "run the same command again" in caught.value.next_step
    assert dataset.read_complete(uri) == manifest
    assert open_store(uri).names() == ["manifest.json", "part-a.parquet", "shards/a.json"]


def test_whether_a_lock_is_held_can_be_asked_without_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    assert not lock.is_held(path)
    assert not path.parent.exists()
    held = lock.hold(path)
    assert held is not None
    assert lock.is_held(path)
    os.close(held)
    assert not lock.is_held(path)
    assert path.read_text(encoding="utf-8").startswith(f"pid {os.getpid()}")
