"""The library and the command line start quickly and load nothing heavy."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "prefect", "transformers", "polars", "pyarrow", "scipy", "boto3", "openai"}
LIBRARY = ["-c", "import qstar_core"]
HELP = ["-m", "flows.cli", "--help"]
TRIES = 20


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs this Python in the repository's root."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )


def loaded_packages(importtime: str) -> set[str]:
    """Top-level packages in the output of ``-X importtime``."""
    lines = [line for line in importtime.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize(
    ("arguments", "limit_s"), [(LIBRARY, 0.5), (HELP, 1.0)], ids=["library", "help"]
)
def test_starts_within(arguments: list[str], limit_s: float) -> None:
    # The best of some tries: other processes can only make it slower.
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        run(arguments)
        seconds.append(time.perf_counter() - start)
        if seconds[-1] < limit_s:
            return
    pytest.fail(f"took {min(seconds):.2f} s at best, {limit_s} s are allowed")


@pytest.mark.parametrize("arguments", [LIBRARY, HELP], ids=["library", "help"])
def test_loads_nothing_heavy(arguments: list[str]) -> None:
    packages = loaded_packages(run(["-X", "importtime", *arguments]).stderr)
    assert "qstar_core" in packages
    assert not packages & HEAVY


def test_help_names_the_commands() -> None:
    text = run(HELP).stdout
    for command in ("run", "rollouts", "label", "train-qvm", "evaluate", "report", "show"):
        assert command in text
