"""A training that kills its own process in the middle of a batch; run by test_training.py.

Usage: python -m tests.adaptive.killed FOLDER EPISODE
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from qstar_core.adaptive.episodes import Batch, Result
from qstar_core.adaptive.policy import ConfigPolicy
from qstar_core.adaptive.training import train
from qstar_core.config_adaptive import ReinforceConfig
from tests.adaptive.bandits import contextual, start

CONFIG = ReinforceConfig(episodes=300, batch_size=20, per_question=2, baseline="running_mean")
SAVE_EVERY = 60


def learn(folder: Path | None, kill_at: int | None = None) -> ConfigPolicy:
    """The training; ends itself with SIGKILL when it is to try the batch of an episode."""
    bandit = contextual(0)
    questions, kinds = bandit.questions(40, 1)

    def collect(batch: Batch) -> Sequence[Result]:
        if kill_at is not None and batch.first >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return bandit.collect(batch, kinds)

    training = start(bandit.space, questions, CONFIG, 7)
    return train(training, collect, folder=folder, save_every=SAVE_EVERY)


if __name__ == "__main__":
    learn(Path(sys.argv[1]), int(sys.argv[2]))
