"""``kill -9`` at three random moments, each followed by a rerun: the same files, byte for byte."""

from __future__ import annotations

import random
from pathlib import Path

import psutil
import pytest

from benchmarks.kill_nine import finish, kill_after, parquet_files, unfinished

from .conftest import Finished

MOMENTS = 3


@pytest.mark.slow
def test_kill_nine(config: Path, finished: Finished, prefect_server: str, tmp_path: Path) -> None:
    env = {"PREFECT_API_URL": prefect_server}  # kills fall into the work, not into a server's start
    whole = parquet_files(finished.out)
    seconds = finish(config, tmp_path / "timing", env)
    assert parquet_files(tmp_path / "timing") == whole
    rng = random.Random()
    moments = [seconds * (k + rng.random()) / MOMENTS for k in range(MOMENTS)]
    for moment in moments:
        out = tmp_path / f"killed-{moment:.2f}"
        kill_after(config, out, env, moment)
        left = set(parquet_files(out))
        assert left <= set(whole), f"killed after {moment:.2f} s"
        finish(config, out, env)
        assert parquet_files(out) == whole, f"killed after {moment:.2f} s, {len(left)} files left"
        assert unfinished(out) == []
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if str(config) in (p.info["cmdline"] or ())
    ]
