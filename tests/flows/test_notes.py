from __future__ import annotations

from pathlib import Path

import pytest

from flows import commands, notes
from qstar_core import pipeline
from qstar_core.config import QvmConfig, RunConfig
from qstar_core.domains import problem_sets
from tests.flows.test_inspect import small


def test_a_note_on_a_users_file_is_shown_and_not_obeyed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(problem_sets, "notes", lambda domain: ["row 3: \x1b[2J"])
    notes.say_fit(commands.console(), RunConfig())
    assert capsys.readouterr().out == "Note: row 3: \\x1b[2J\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [("{}", True), ("out: there\n", True), ("seed: 0\n", True), ("seed: 1", False)],
)
def test_a_run_of_defaults_alone_says_which_they_are(
    text: str, said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    notes.say_defaults(commands.console(), commands.load(str(file), None, str(tmp_path)))
    shown = " ".join(capsys.readouterr().out.split())
    assert ("2,000 training and 500 test problems, 16 rollouts of reference:" in shown) is said


def test_a_stronger_pool_of_the_runs_own_policy_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = {"kind": "stronger", "temperature": 0.5}
    notes.say_fit(commands.console(), RunConfig.model_validate({"pools": [own]}))
    assert "pool_stronger names no policy" in capsys.readouterr().out
    other = {**own, "policy": {"path": "another"}}
    notes.say_fit(commands.console(), RunConfig.model_validate({"pools": [other]}))
    assert capsys.readouterr().out == ""


def test_a_comparison_says_that_it_trains_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = pipeline.plan_comparison(small(tmp_path))
    notes.say_training(commands.console(), stages)
    assert "the stages rollouts, labels and qvm come first" in capsys.readouterr().out
    given = QvmConfig(path="reference:countdown-qvm")
    notes.say_training(commands.console(), pipeline.plan_comparison(small(tmp_path, qvm=given)))
    monkeypatch.setattr(pipeline, "published", lambda stage: {})
    notes.say_training(commands.console(), stages)
    assert capsys.readouterr().out == ""
