"""Trainings by two processes through the real command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Qstar


def figures(out: Path, kind: str) -> list[dict[str, Any]]:
    """Of the models of a kind, in the order in which they were made."""
    found = [json.loads(file.read_text()) for file in (out / kind).glob("*/manifest.json")]
    return [manifest["figures"] for manifest in sorted(found, key=lambda each: each["created"])]


@pytest.mark.slow
def test_all_kinds_of_models_by_two_processes(
    qstar: Qstar, config: Path, prefect_server: str, tmp_path: Path
) -> None:
    env, out = {"PREFECT_API_URL": prefect_server}, tmp_path / "out"
    both = [w for s in ("qvm", "prm") for w in ("--set", f"{s}.processes=2")]
    small = [w for s in ("bf16=false", "holdout=0.3") for w in ("--set", f"prm.{s}")]
    assert qstar("rollouts", config, **env).returncode == 0
    rounds = ("--method", "fitted_q", "--rounds", "2")
    for command in (("train-qvm", *rounds), ("train-prm",)):
        made = qstar(command[0], config, *command[1:], *both, *small, **env)
        assert made.returncode == 0, made.stdout + made.stderr
    models = [*figures(out, "qvm"), *figures(out, "prm")]
    assert [model["processes"] for model in models] == [2, 2, 2]
    assert not list(out.rglob(".writing"))
