from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import commands, guard, inspect, sweeps
from flows.cli import app
from qstar_core.config import RunConfig
from qstar_core.domains import problem_sets


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


def test_a_note_on_a_users_file_is_shown_and_not_obeyed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(problem_sets, "notes", lambda domain: ["row 3: \x1b[2J"])
    commands.notes(commands.console(), RunConfig())
    assert capsys.readouterr().out == "Note: row 3: \\x1b[2J\n"


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


@pytest.mark.parametrize(
    ("text", "said"),
    [("{}", True), ("out: there\n", True), ("seed: 0\n", True), ("seed: 1", False)],
)
def test_a_run_of_defaults_alone_says_which_they_are(
    text: str, said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    commands.say_defaults(commands.console(), commands.load(str(file), None, str(tmp_path)))
    shown = " ".join(capsys.readouterr().out.split())
    assert ("2,000 training and 500 test problems, 16 rollouts of reference:" in shown) is said


def test_a_stronger_pool_of_the_runs_own_policy_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = {"kind": "stronger", "temperature": 0.5}
    commands.notes(commands.console(), RunConfig.model_validate({"pools": [own]}))
    assert "pool_stronger names no policy" in capsys.readouterr().out
    other = {**own, "policy": {"path": "another"}}
    commands.notes(commands.console(), RunConfig.model_validate({"pools": [other]}))
    assert capsys.readouterr().out == ""
