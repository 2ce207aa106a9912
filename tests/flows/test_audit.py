from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flows import audit
from flows.cli import app
from qstar_core.audit import run
from qstar_core.errors import UserError
from qstar_core.labels.best_of_rollouts import best_of_rollouts
from tests.audit.examples import BAD, END, GOOD, LOSE, MISSPELT, PROBLEM, WIN, write_run
from tests.audit.test_page import found

PLAYS = {PROBLEM: [[GOOD, WIN], [GOOD, MISSPELT], [BAD, END], [GOOD, LOSE]]}


@pytest.fixture(autouse=True)
def one_method(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"best_of_rollouts": lambda paths: best_of_rollouts(paths, 1.0)}
    monkeypatch.setattr(run, "methods", lambda settings: calls)


def shown(figures: dict[str, Any], width: int = 80) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    audit.show(console, figures)
    return console.export_text()


def test_the_tables_fit_80_columns_and_show_every_figure() -> None:
    text = shown(found())
    for part in ("25.0", "contradicting labels", "-0.2000", "needs a pool", "best_of_rollouts"):
        assert part in text
    assert "…" not in text
    figures = "best_of_rollouts  1      20  -0.2000  0.2000      100  0.1000  0.1000    0.1000"
    assert figures in text  # on one line
    assert "1       4         3        1      33.3        0  -0.2500  0.2500" in text


def test_what_models_wrote_is_shown_and_not_obeyed() -> None:
    figures = found(warnings=[{"what": "[red]\x1b[2J", "next": "qstar run CONFIG"}])
    figures["conflicts"]["examples"][0]["action"] = "[bold]\x1b[2J"
    text = shown(figures)
    assert "[red]\\x1b[2J" in text and "[bold]\\x1b[2J" in text and "\x1b" not in text


def test_what_was_not_audited_is_said() -> None:
    nothing = dict.fromkeys(("duplicates", "leakage", "format_errors", "own", "truth"))
    text = shown(found(**nothing, warnings=[]))
    assert text.count("not audited") == 4
    assert "Nothing was found against these labels." in text


@pytest.mark.parametrize(("share", "place"), [(0.0, 0), (0.001, 1), (0.5, 4), (1.0, 8)])
def test_only_nothing_has_no_bar(share: float, place: int) -> None:
    assert audit.bar(share) == place


def test_the_command_prints_tables_and_writes_figures_and_page(tmp_path: Path) -> None:
    labels = write_run(tmp_path / "out", PLAYS)
    files = tmp_path / "audit.json", tmp_path / "audit.html"
    options = ["--json", str(files[0]), "--html", str(files[1])]
    done = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["audit", labels, *options])
    assert done.exit_code == 0, done.output
    assert "These labels against the exact Q* on 1 problems" in done.output
    assert "Methods against the exact Q* on 1 problems" in done.output
    assert "Warning: 1 of 3 negatives (33 %)" in done.output
    assert str(files[1]) in done.output
    assert json.loads(files[0].read_text())["conflicts"]["conflicting"] == 0
    assert "<h2>Labels by step</h2>" in files[1].read_text()


def test_json_on_standard_output_is_nothing_else(tmp_path: Path) -> None:
    labels = write_run(tmp_path, PLAYS)
    done = CliRunner().invoke(app, ["audit", labels, "--json", "-", "--problems", "0"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["truth"] is None


def test_a_folder_that_is_not_there_is_said_first(tmp_path: Path) -> None:
    where = str(tmp_path / "no" / "audit.json")
    with pytest.raises(UserError, match="no such folder") as caught:
        audit.audit_labels(Console(), "labels", where, None, 1, 0.8)
    assert caught.value.next_step == f"mkdir -p {tmp_path / 'no'}"
