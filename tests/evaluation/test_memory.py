"""10,000 searches with their traces stay under 4 GB: measured on fewer, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEARCHES = 1_000
LIMIT_MB = 4_096


@pytest.mark.slow
def test_ten_thousand_searches_stay_under_4_gb() -> None:
    command = [sys.executable, "benchmarks/memory.py", "--searches", str(SEARCHES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = dict(re.findall(r"^(\w[\w ]*?)  +([\d,]+)", done.stdout, re.MULTILINE))
    before, after = (int(figures[f"peak {when}"].replace(",", "")) for when in ("before", "after"))
    assert int(figures["nodes of traces"].replace(",", "")) > 20 * SEARCHES
    assert before + (after - before) * 10_000 / SEARCHES < LIMIT_MB
