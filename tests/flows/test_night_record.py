"""``qstar run --date``: a run of the command line is a night too."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

from qstar_core import partitions

from .conftest import Finished, Qstar


def test_a_dated_run_leaves_a_record(finished: Finished, qstar: Qstar, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    command = ("run", finished.config, "--out", out, "--date", "2026-11-28")
    for _ in range(2):
        done = qstar(*command, PREFECT_HOME=str(tmp_path / "prefect"))
        assert done.returncode == 0, done.stderr
        assert "Record of 2026-11-28: " in done.stdout
    [record] = partitions.records(str(out), "tiny")
    assert (record.flow, record.date, record.whole) == ("nightly", date(2026, 11, 28), True)
    assert not any(stage["made"] for stage in record.stages.values())
    assert str(Path(record.stages["report"]["uri"])).startswith(str(out))


def test_a_configuration_with_a_date_needs_one(
    finished: Finished, qstar: Qstar, tmp_path: Path
) -> None:
    dated = ("--set", "domain.train_file=problems/{date}.jsonl")
    done = qstar("run", finished.config, *dated)
    assert done.returncode == 2
    assert f"Next: qstar run {finished.config}" in " ".join(done.stderr.split())
    wrong = qstar("run", finished.config, "--date", "yesterday")
    assert wrong.returncode == 2 and "yesterday" in wrong.stderr
