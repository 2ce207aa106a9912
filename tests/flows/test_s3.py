"""Whole runs against a real S3 server: equal rows, failing requests, nothing secret anywhere."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qstar_core.store import open_store, scan
from qstar_core.store.s3 import S3Store
from tests.fault_proxy import FaultProxy
from tests.processes import wait_until
from tests.s3 import S3Server

from .conftest import PATIENT, ROOT, TINY, Finished, Qstar, call

pytestmark = pytest.mark.slow

SHARE = 0.1


def parquet_files(uri: str) -> dict[str, str]:
    """The SHA-256 of every Parquet file below a URI, by its name."""
    store = open_store(uri)
    names = [name for name in store.names() if name.endswith(".parquet")]
    return {name: hashlib.sha256(store.read(name)).hexdigest() for name in names}


def repeated(result: subprocess.CompletedProcess[str]) -> int:
    """What the end of a command says of repeated requests."""
    return repeated_in(result.stdout + result.stderr)


def repeated_in(output: str) -> int:
    found = re.search(r"S3 requests repeated: ([\d,]+)", output)
    assert found, output
    return int(found[1].replace(",", ""))


@pytest.fixture
def cache(tmp_path: Path) -> dict[str, str]:
    """An empty cache for the commands of one test."""
    return {"QSTAR_CACHE": str(tmp_path / "cache")}


def test_a_run_on_s3_gives_the_files_of_a_local_run(
    config: Path,
    finished: Finished,
    bucket: str,
    cache: dict[str, str],
    prefect_server: str,
    qstar: Qstar,
    tmp_path: Path,
) -> None:
    env = {"PREFECT_API_URL": prefect_server, **cache}
    out = f"{bucket}/night"
    result = qstar("run", config, "--out", out, **env)
    assert result.returncode == 0, result.stdout + result.stderr
    assert parquet_files(out) == parquet_files(str(finished.out))
    assert repeated(result) == 0
    left = [name for name in open_store(out).sizes() if ".writing" in name]
    assert not left
    assert not list((tmp_path / "cache" / "scratch").iterdir())
    again = qstar("run", config, "--out", out, **env)
    assert "Everything is already there" in again.stdout

    (folder,) = re.findall(rf"Report +({out}/report/\w+)/report\.html", result.stdout)
    fetched = qstar("fetch", folder, tmp_path / "report", **env)
    assert fetched.returncode == 0, fetched.stderr
    names = sorted(p.name for p in (tmp_path / "report").iterdir())
    assert names == ["manifest.json", "report.html"]

    (rollouts,) = {f"{out}/{n.rpartition('/')[0]}" for n in parquet_files(out) if "rollouts/" in n}
    shown = qstar("show", rollouts, **env)
    assert shown.returncode == 0, shown.stderr
    assert "rollout_id" in shown.stdout
    assert scan(rollouts).collect().height == 48

    lines = config.read_text()
    open_store(bucket).replace("tiny.yaml", lines.encode())
    from_s3 = qstar("run", f"{bucket}/tiny.yaml", "--out", out, "--plan", **env)
    assert from_s3.stdout.count("already there") == 6, from_s3.stdout + from_s3.stderr


def test_models_and_problems_on_s3_have_the_keys_of_local_ones(
    config: Path, finished: Finished, policy: Path, bucket: str, tmp_path: Path
) -> None:
    (value,) = (finished.out / "qvm").iterdir()
    problems = tmp_path / "problems.jsonl"
    problems.write_text(
        '{"numbers": [1, 2, 3], "target": 6}\n{"numbers": [1, 2, 4], "target": 7}\n'
    )
    upload(policy, f"{bucket}/policy")
    upload(value, f"{bucket}/value")
    open_store(bucket).replace("problems.jsonl", problems.read_bytes())
    plans = []
    for path, model, file in (
        (policy, value, problems),
        (f"{bucket}/policy", f"{bucket}/value", f"{bucket}/problems.jsonl"),
    ):
        sets = [f"policy.path={path}", f"qvm.path={model}", f"domain.test_file={file}"]
        sets += [f"qvm.init={path}", "domain.test_problems=null"]
        result = call("run", config, "--plan", *[x for one in sets for x in ("--set", one)])
        assert result.returncode == 0, result.stderr
        plans.append(result.stdout)
    assert plans[0] == plans[1]


def upload(folder: Path, uri: str) -> None:
    store = open_store(uri)
    for file in folder.iterdir():
        if file.is_file():
            store.replace(file.name, file.read_bytes())


def test_failing_requests_change_no_row_and_are_counted(
    config: Path,
    finished: Finished,
    s3: S3Server,
    bucket: str,
    cache: dict[str, str],
    prefect_server: str,
    qstar: Qstar,
) -> None:
    proxy = FaultProxy(s3.port, SHARE, seed=1)
    try:
        env = {"PREFECT_API_URL": prefect_server, "AWS_ENDPOINT_URL": proxy.url, **cache}
        result = qstar("run", config, "--out", f"{bucket}/night", **env)
    finally:
        proxy.close()
    assert result.returncode == 0, result.stdout + result.stderr
    assert parquet_files(f"{bucket}/night") == parquet_files(str(finished.out))
    assert set(proxy.spoiled) == set(proxy.faults)
    assert proxy.spoiled.total() >= 0.05 * proxy.requests
    failed = proxy.spoiled.total() - proxy.spoiled["stall"]  # a stall of 5 s is waited for
    assert failed * 0.7 <= repeated(result) <= failed * 1.3, (proxy.spoiled, result.stdout)


def test_no_credential_is_written_anywhere(
    policy: Path, s3: S3Server, bucket: str, tmp_path: Path, qstar: Qstar
) -> None:
    path, home = tmp_path / "tiny.yaml", tmp_path / "prefect"
    path.write_text(TINY.format(out=f"{bucket}/night", policy=policy), encoding="utf-8")
    env = {"PREFECT_HOME": str(home), "QSTAR_CACHE": str(tmp_path / "cache")}
    good = qstar("run", path, "--verbose", **env)
    assert good.returncode == 0, good.stdout + good.stderr
    wrong = "not-the-" + s3.secret
    sets = ("--set", "seed=5", "--verbose")
    bad = qstar("run", path, *sets, AWS_SECRET_ACCESS_KEY=wrong, **env)
    assert bad.returncode == 2
    for name in open_store(bucket).names():
        target = tmp_path / "fetched" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        open_store(bucket).download(name, target)
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.suffix == ".db" for file in written)
    assert any(file.name == "report.html" for file in written)
    for text in (good.stdout, good.stderr, bad.stdout, bad.stderr):
        assert s3.secret not in text
    for file in written:
        assert s3.secret.encode() not in file.read_bytes(), file
    shutil.rmtree(home)
    assert s3.secret == os.environ["AWS_SECRET_ACCESS_KEY"]  # it was there to be written


def start(config: Path, out: str, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", str(config), "--out", out],
        cwd=ROOT,
        env={**os.environ, **PATIENT, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_server_is_killed_again_and_again_during_a_run(
    config: Path,
    finished: Finished,
    prefect_server: str,
    cache: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = S3Server(tmp_path / "server")
    server.start()
    for name, value in server.env().items():
        monkeypatch.setenv(name, value)
    out = f"{server.bucket()}/night"
    run = start(config, out, {"PREFECT_API_URL": prefect_server, **cache})
    kills = 0
    while run.poll() is None:
        time.sleep(random.uniform(2.0, 8.0))
        server.kill()
        kills += 1
        time.sleep(random.uniform(0.0, 1.0))
        server.start()
    output, _ = run.communicate()
    assert run.returncode == 0, output
    assert kills >= 2
    assert parquet_files(out) == parquet_files(str(finished.out))
    repeated_in(output)  # how many depends on where the kills fell; counted exactly with faults
    server.kill()


def test_kill_nine_of_a_run_on_s3_keeps_what_was_finished(
    config: Path, finished: Finished, bucket: str, prefect_server: str, cache: dict[str, str]
) -> None:
    out, env = f"{bucket}/night", {"PREFECT_API_URL": prefect_server, **cache}
    store = open_store(out)
    run = start(config, out, env)
    wait_until(lambda: sum("rollouts/" in name for name in store.names()) >= 2, "a shard")
    run.kill()
    run.communicate()
    kept = {name: store.read(name) for name in store.names() if name.endswith(".json")}
    assert kept
    again = start(config, out, env)
    output, _ = again.communicate()
    assert again.returncode == 0, output
    assert parquet_files(out) == parquet_files(str(finished.out))
    assert {name: store.read(name) for name in kept} == kept  # nothing was made twice
    assert not [each.name for each in S3Store(out).objects() if ".writing" in each.name]
    assert not list((Path(cache["QSTAR_CACHE"]) / "scratch").iterdir())
