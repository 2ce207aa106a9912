"""A training stage that ends its own process in the middle of a batch; run by test_jobs.py.

Usage: python -m tests.configuring.killed FOLDER LEARNER EPISODE
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from qstar_core import pipeline
from qstar_core.adaptive.episodes import Batch, Result
from qstar_core.configuring import jobs
from tests.configuring.runs import config_of
from tests.models import tiny_policy

SHORT: dict[str, Any] = {
    "embedding": str(tiny_policy()),
    **{"episodes": 200, "batch_size": 20, "save_every": 60, "logged": 3},
    **{"linucb": 0.5, "ablations": False},
}


def learn(out: Path, learner: str, kill_at: int | None = None) -> tuple[list[int], dict[str, Any]]:
    """Makes one shard; returns the first episodes of the batches that were tried, the receipt."""
    config = config_of(out, train=15, test=3, **SHORT)
    stage = pipeline.plan(config)["adaptive"]
    [spec] = [s for s in pipeline.shards(stage, config) if s["learner"] == learner]
    tried: list[int] = []
    right = jobs.trying

    def trying(*given: Any) -> Any:
        collect = right(*given)

        def dying(batch: Batch) -> list[Result]:
            if kill_at is not None and batch.first >= kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            tried.append(batch.first)
            results: list[Result] = collect(batch)
            return results

        return dying

    jobs.trying = trying
    try:
        receipt = jobs.adaptive(spec, config, lambda *_: None)
    finally:
        jobs.trying = right
    return tried, receipt


if __name__ == "__main__":
    learn(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
