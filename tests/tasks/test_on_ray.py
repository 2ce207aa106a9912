"""The same flow on a Ray cluster of two nodes on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import TINY, call, tiny_policy

pytest.importorskip("prefect_ray")
pytestmark = pytest.mark.ray

PYTHON = Path(sys.executable)
RAY = PYTHON.with_name("ray")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def ray(home: Path, *arguments: str, python: Path = PYTHON) -> None:
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "HOME": str(home)}
    subprocess.run(
        [str(python), str(RAY), *arguments],
        env={**os.environ, **quiet},
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=300,
    )


def twin(folder: Path) -> Path:
    """The interpreter of this environment under another path, which receipts then name."""
    (folder / "bin").mkdir(parents=True)
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", folder)
    (folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    python = folder / "bin" / PYTHON.name
    python.symlink_to(PYTHON.resolve())
    return python


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of a cluster of two nodes with one worker each, and the home it was started with.

    The interpreter of the second node is a twin of that of the first: its path tells them apart.
    """
    home = tmp_path_factory.mktemp("home")
    temporary = tmp_path_factory.mktemp("r")
    address = f"127.0.0.1:{free_port()}"
    node = ("--num-cpus=1", "--num-gpus=0", "--object-store-memory=100000000")
    head = ("--head", "--node-ip-address=127.0.0.1", f"--port={address.split(':')[1]}")
    place = (f"--temp-dir={temporary}", "--include-dashboard=false")
    try:
        ray(home, "start", *head, *place, *node)
        ray(home, "start", f"--address={address}", *node, python=twin(home / "twin"))
        yield address, home
    finally:
        ray(home, "stop", "--force")


def parquet(out: Path) -> dict[str, str]:
    files = sorted(out.rglob("*.parquet"))
    return {
        f.relative_to(out).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files
    }


def test_two_ray_workers_give_the_rows_of_one_local_worker(
    cluster: tuple[str, Path], tmp_path: Path
) -> None:
    address, home = cluster
    config = tmp_path / "tiny.yaml"
    policy = tiny_policy(tmp_path / "policy")
    config.write_text(TINY.format(out=tmp_path / "local", policy=policy), encoding="utf-8")
    one = call("run", config, "--set", "runtime.workers=1")
    assert one.returncode == 0, one.stderr
    out = tmp_path / "ray"
    sets = [f"out={out}", "runtime.runner=ray", f"runtime.ray_address={address}"]
    two = call("run", config, *[p for s in sets for p in ("--set", s)], HOME=str(home))
    assert two.returncode == 0, two.stdout + two.stderr
    rows = parquet(tmp_path / "local")
    assert len(rows) > 10
    assert parquet(out) == rows
    assert {path.parents[1] for path in interpreters(out)} >= {home / "twin"}
    assert len(interpreters(out)) == 2, "one node made all shards"


def interpreters(out: Path) -> set[Path]:
    """Those that made the shards of a run."""
    receipts = [json.loads(path.read_text()) for path in out.glob("*/*/shards/*.json")]
    return {Path(receipt["environment"]["interpreter"]) for receipt in receipts}


def test_cluster_that_is_not_there(tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    policy = tiny_policy(tmp_path / "policy")
    config.write_text(TINY.format(out=tmp_path / "out", policy=policy), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    sets = ("--set", "runtime.runner=ray", "--set", f"runtime.ray_address={address}")
    result = call("rollouts", config, *sets)
    assert result.returncode == 2, result.stdout + result.stderr
    assert f"no Ray cluster at {address}" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
