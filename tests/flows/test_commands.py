from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import commands, guard, inspect, sweeps
from flows.cli import app


@pytest.mark.parametrize(("command", "module"), [("run", inspect), ("compare", sweeps)])
@pytest.mark.parametrize("out", [None, "other place"])
def test_the_next_command_has_the_overrides_of_the_one_that_ran(
    command: str, module: Any, out: str | None, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(inspect, "all_published", lambda stages: {name: {} for name in stages})
    monkeypatch.setattr(module, "show_end", lambda *given: told.append(given[-1]))
    overrides = ["rollouts.samples=8", "comparison.tokens=[20, 40]"]
    commands.whole(command, str(config), False, out, overrides, False)
    [said] = told
    sets = ["--set", overrides[0], "--set", overrides[1]]
    place = ["--out", out] if out else []
    assert shlex.split(said) == ["qstar", command, str(config), *place, *sets]


def test_an_error_that_quotes_a_data_set_is_shown_and_not_obeyed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    guard._explain("no problem fits '9': a\x1b[2J [red]\nb", "", "one of: \x9bA")
    shown = capsys.readouterr().err
    assert shown == "Error: no problem fits '9': a\\x1b[2J [red]\nb\nNext: one of: \\x9bA\n"


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("explain", "(A*, else the first with a tree)"),
        ("explain", "(largest)"),
        ("pretrain", "(OUT/pretrain)"),
    ],
)
def test_the_help_says_what_is_taken_by_default(command: str, default: str) -> None:
    shown = CliRunner(env={"COLUMNS": "150"}).invoke(app, [command, "--help"]).output
    assert default in shown
