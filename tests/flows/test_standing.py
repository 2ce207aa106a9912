"""``qstar server``: everything starts, and Ctrl-C ends everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.processes import PATIENCE_S, ended, wait_until

from .conftest import PATIENT, ROOT

FILE = """\
pull: []
deployments:
  - name: label
    entrypoint: flows.deployed.label
    parameters: {config: deployments/demo.yaml}
    work_pool: {name: qstar}
"""


@pytest.mark.slow
def test_a_server_a_worker_and_the_deployments_until_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "prefect.yaml").write_text(FILE)
    (tmp_path / "prefect-server.yaml").write_text("work_pools: [{name: qstar, type: process}]\n")
    arguments = ["server", "--port", "0", "--file", str(tmp_path / "prefect.yaml")]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, **PATIENT, "PREFECT_HOME": str(tmp_path / "home"), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C ends both" in line:
            break
    said = "".join(lines)
    assert "made         deployment label/label" in said, said
    api = said.rpartition("Prefect server ")[2].partition(",")[0] + "/api"
    wait_until(lambda: workers(api) == ["ONLINE"], "the worker is there")
    running = psutil.Process(process.pid).children(recursive=True)
    assert len(running) >= 2
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    wait_until(lambda: all(ended(each.pid) for each in running), "server and worker end")


def workers(api: str) -> list[str]:
    found = httpx.post(f"{api}/work_pools/qstar/workers/filter", json={}).json()
    return [worker["status"] for worker in found]
