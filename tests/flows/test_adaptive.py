"""``qstar train-adaptive`` and runs with adaptive methods, as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from rich.console import Console

from flows.adaptive import adaptive_tables
from qstar_core.config import RunConfig
from tests.configuring.runs import config_of
from tests.flows.conftest import Qstar

FIGURES = {
    "learners": [
        {
            **{"learner": "policy", "episodes": 600, "unknown": 1, "tokens": 12000},
            **{"seconds": 3.2, "first": 0.25, "last": None},
        }
    ],
    "estimates": [
        {"policy": "fixed", "utility": 0.5, "low": None, "high": None, "ess": 3.0, "trusted": False}
    ],
    "best_fixed": {"word": "[red]", "temperature": 0.0},
    "chosen": {"policy": {"word": {str(k): k for k in range(9)}}},
}


def written(config: RunConfig, folder: Path) -> Path:
    """The configuration as a file."""
    path = folder / "config.yaml"
    path.write_text(
        yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)), encoding="utf-8"
    )
    return path


def test_the_tables_show_what_was_learnt_as_it_is() -> None:
    console = Console(width=160, record=True)
    for table in adaptive_tables(FIGURES):
        console.print(table)
    shown = console.export_text()
    assert "best fixed: word [red], temperature 0.0" in " ".join(shown.split())
    assert "12,000" in shown and "too few to trust" in shown
    assert "8: 8, 7: 7" in shown and "3 more" in shown


def test_the_plan_runs_nothing(qstar: Qstar, tmp_path: Path) -> None:
    path = written(config_of(tmp_path / "out"), tmp_path)
    done = qstar("train-adaptive", path, "--plan")
    assert done.returncode == 0, done.stderr
    found = [line.split()[0] for line in done.stdout.splitlines() if "will run" in line]
    assert found == ["problems", "episodes", "adaptive"]
    assert not (tmp_path / "out").exists()


def test_a_configuration_without_the_section_says_what_to_write(qstar: Qstar, config: Path) -> None:
    done = qstar("train-adaptive", config)
    assert done.returncode == 2
    assert "no section adaptive" in done.stderr and "adaptive: {}" in done.stderr


@pytest.mark.slow
def test_train_then_run(qstar: Qstar, prefect_server: str, tmp_path: Path) -> None:
    path = written(config_of(tmp_path / "out"), tmp_path)
    done = qstar("train-adaptive", path, PREFECT_API_URL=prefect_server)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "best fixed: word" in done.stdout and "what policy chooses" in done.stdout
    assert "qstar evaluate" in done.stdout
    again = qstar("train-adaptive", path, PREFECT_API_URL=prefect_server)
    assert again.returncode == 0 and "adaptive is already there" in again.stdout
    run = qstar("run", path, PREFECT_API_URL=prefect_server)
    assert run.returncode == 0, run.stdout + run.stderr
    for method in ("adaptive", "random", "fixed", "oracle"):
        assert method in run.stdout
    made = sorted(p.parent.parent.name for p in (tmp_path / "out").glob("*/*/manifest.json"))
    assert made == ["adaptive", "episodes", "evaluation", "problems", "report"]
