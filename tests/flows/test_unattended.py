"""A scheduled nightly on a real server with a real worker, killed in its middle, on real S3."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from flows import server, standing
from qstar_core import partitions
from qstar_core.store import open_store, scan
from tests.postgres import postgres, why_not
from tests.processes import wait_until

from .conftest import PATIENT, ROOT, TINY, Qstar

pytestmark = [pytest.mark.slow, pytest.mark.waits]

SILENT_S = 75  # heartbeats come every 30 s, which is the least that Prefect allows
AHEAD_S = 340
"""No automation hears of how a run that starts within five minutes of its scheduling goes on, for a
quarter of an hour: Prefect orders its events by one that is never sent. Nights are scheduled days
before."""
SOON_S = 75  # in which Prefect has surely seen the schedule
ROLLOUTS = 12 * 4


@contextmanager
def database(kind: str) -> Iterator[str | None]:
    if kind == "sqlite":
        yield None
        return
    if reason := why_not():
        pytest.skip(reason)
    with postgres() as url:
        yield url


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The database of the server."""
    return str(request.param)


@pytest.fixture
def api(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The API address of a standing server with its own database."""
    with ExitStack() as stack:
        url = stack.enter_context(database(kind))
        monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
        if url is not None:
            monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", url)
        for name, value in PATIENT.items():
            monkeypatch.setenv(name, value)
        port = server.free_port()
        process = server.start_standing(port, with_parent=True)
        stack.callback(process.wait)
        stack.enter_context(closing(process.stdin))  # its end ends the server
        address = f"http://127.0.0.1:{port}/api"
        server.wait_healthy(address, process)
        monkeypatch.setenv("PREFECT_API_URL", address)
        monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "2")
        yield address


def deployments(folder: Path, bucket: str) -> Path:
    """deployments/ with a nightly on a bucket, not yet scheduled, and a quick eye for silence."""
    shutil.copytree(ROOT / "deployments", folder / "deployments")
    file = folder / "deployments" / "prefect.yaml"
    tree = yaml.safe_load(file.read_text())
    tree["deployments"] = tree["deployments"][:1]
    nightly = tree["deployments"][0]
    nightly["schedules"] = []
    nightly["parameters"] = {"config": f"{bucket}/tiny.yaml", "out": f"{bucket}/night"}
    file.write_text(yaml.safe_dump(tree))
    extra = file.with_name("prefect-server.yaml")
    rest = yaml.safe_load(extra.read_text())
    rest["automations"][0]["trigger"]["within"] = SILENT_S
    extra.write_text(yaml.safe_dump(rest))
    return file


def schedule(api: str, ahead_s: float) -> None:
    """Makes the nightly due at a minute that is at least so many seconds ahead."""
    nightly = httpx.get(f"{api}/deployments/name/nightly/nightly").json()
    due = datetime.now(UTC) + timedelta(seconds=ahead_s + 60)
    cron = {"cron": f"{due.minute} {due.hour} * * *", "timezone": "UTC"}
    url = f"{api}/deployments/{nightly['id']}/schedules"
    httpx.post(url, json=[{"schedule": cron, "active": True}]).raise_for_status()
    wait_until(lambda: bool(flow_runs(api)), "the night is scheduled")
    left = due.replace(second=0) - datetime.now(UTC)
    time.sleep(max(0.0, left.total_seconds() - 15))


def started(api: str) -> bool:
    return any(run["state_type"] == "RUNNING" for run in flow_runs(api))


def flow_runs(api: str) -> list[dict[str, Any]]:
    found = httpx.post(f"{api}/flow_runs/filter", json={"sort": "EXPECTED_START_TIME_ASC"}).json()
    assert isinstance(found, list), found
    return found


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes)


@pytest.fixture
def workers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers of Prefect that end with the test, and their runs with them."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for each in started:
        if each.poll() is None:
            kill([*psutil.Process(each.pid).children(recursive=True), psutil.Process(each.pid)])
            each.wait()


# With both databases and both deaths; the other two pairs would show nothing more.
@pytest.mark.parametrize(
    ("kind", "died"), [("sqlite", "machine"), ("postgresql", "worker")], indirect=["kind"]
)
def test_a_scheduled_night_survives_kill_nine(
    api: str,
    died: str,
    bucket: str,
    policy: Path,
    qstar: Qstar,
    tmp_path: Path,
    workers: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QSTAR_HOME", str(tmp_path))
    monkeypatch.setenv("QSTAR_CACHE", str(tmp_path / "cache"))
    text = TINY.format(out="unused", policy=policy).replace(
        "shard_problems: 4", "shard_problems: 1"
    )
    store = open_store(bucket)
    store.replace("tiny.yaml", text.encode())
    done = qstar("deploy", deployments(tmp_path, bucket))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "made         deployment nightly/nightly" in done.stdout

    workers.append(standing.worker("qstar"))
    schedule(api, AHEAD_S if died == "machine" else SOON_S)
    wait_until(lambda: started(api), "the night begins")
    wait_until(
        lambda: any(n.startswith("night/rollouts/") and "/shards/" in n for n in store.names()),
        "the first shard of rollouts is in the bucket",
    )
    first = psutil.Process(workers[0].pid)
    running = first.children(recursive=True)
    assert running
    kill([first, *running] if died == "machine" else [first])
    workers[0].wait()
    assert not any(n.startswith("night/rollouts/") and "manifest" in n for n in store.names())
    workers.append(standing.worker("qstar"))

    def ended() -> bool:
        return flow_runs(api)[0]["state_type"] in ("COMPLETED", "FAILED")

    wait_until(ended, "the night ends")
    run = flow_runs(api)[0]
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["run_count"] == (2 if died == "machine" else 1)
    kill([p for p in running if p.is_running()])  # an orphan that has finished its run is ending

    day = datetime.fromisoformat(run["expected_start_time"]).date()
    assert run["name"].startswith(f"nightly-tiny-countdown-{day}-")
    assert f"partition:{day}" in run["tags"]
    [record] = partitions.records(f"{bucket}/night", "tiny")
    assert (record.date, record.whole) == (day, True)
    rows = scan(record.stages["rollouts"]["uri"]).collect()
    assert rows.height == rows["rollout_id"].n_unique() == ROLLOUTS
    for stage in record.stages.values():
        names = open_store(stage["uri"]).names()
        assert "manifest.json" in names and not any(".writing" in name for name in names)
    report = open_store(record.stages["report"]["uri"])
    assert b"<html" in report.read("report.html").lower()
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    logs = httpx.post(f"{api}/logs/filter", json={"limit": 200}).json()
    assert logs and secret not in json.dumps(logs)
