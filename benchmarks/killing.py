"""What the scripts that kill runs share: starting one without a terminal, and the moments."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def parse(doc: str | None, moments: int) -> argparse.Namespace:
    """The options of such a script: moments, seed, policy."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--moments", type=int, default=moments)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policy", default="reference:countdown-policy")
    return parser.parse_args()


def qstar(
    *arguments: object, env: Mapping[str, str] | None = None, alone: bool = False
) -> subprocess.Popen[bytes]:
    """Starts ``qstar`` without a terminal; ``alone`` in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=alone,
    )


def finish(process: subprocess.Popen[bytes]) -> float:
    """Waits for the end of a run that has just been started; returns the seconds it took."""
    begun = time.monotonic()
    _, stderr = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args!r}\n{stderr.decode()}")
    return time.monotonic() - begun


class Moments:
    """Random moments of a run of so many seconds.

    Args:
        rng: draws them.
        seconds: that the undisturbed run takes.
        earliest: share of them before which none lies.
    """

    def __init__(self, rng: random.Random, seconds: float, earliest: float) -> None:
        self.rng = rng
        self.seconds = seconds
        self.earliest = earliest
        self.missed = 0
        """Moments at which nothing was left to kill."""

    def draw(self) -> float:
        """The next moment, in seconds."""
        return self.rng.uniform(self.earliest, 1.0) * self.seconds

    def miss(self, moment: float) -> None:
        """The run had ended before: the machine has less to do than when it was timed."""
        self.missed += 1
        self.seconds = min(self.seconds, max(moment, 0.9 * self.seconds))
