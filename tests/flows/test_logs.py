"""The console of a deployed run may lose its reader, the worker; the run does not end with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

RUN = """
import logging, pathlib, sys
from flows import settings
settings.apply()
from flows import logs
logs.configure(verbose=True)
if sys.argv[1] == "outlive":
    logs.outlive_worker()
log = logging.getLogger("qstar_core.progress")
log.info("first")
sys.stdin.read()
for number in range(3):
    log.info("more %d", number)
    print("printed", flush=True)
pathlib.Path(sys.argv[2]).write_text("done")
"""


@pytest.mark.parametrize("how", ["outlive", "as rich does it"])
def test_a_run_outlives_the_reader_of_its_console(tmp_path: Path, how: str) -> None:
    marker = tmp_path / "marker"
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, how, str(marker)],
        cwd=ROOT,
        env={**os.environ, "PREFECT_LOGGING_COLORS": "false"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None and process.stdout is not None
    assert b"first" in process.stdout.readline()
    process.stdout.close()
    process.stdin.close()
    assert (process.wait() == 0) is (how == "outlive")
    assert marker.exists() is (how == "outlive")
