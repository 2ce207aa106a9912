"""Two runs of one configuration at once: both succeed, and the files are those of a single run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kill_nine import parquet_files, start, unfinished

from .conftest import Finished


@pytest.mark.slow
def test_two_runs_at_once(config: Path, finished: Finished, prefect_server: str) -> None:
    out = config.parent / "out"
    runs = [start(config, out, {"PREFECT_API_URL": prefect_server}) for _ in range(2)]
    for run in runs:
        _, stderr = run.communicate()
        assert run.returncode == 0, stderr.decode()
    assert parquet_files(out) == parquet_files(finished.out)
    assert unfinished(out) == []
