"""Bad input: one clear error, the next command, exit code 2, nothing written."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows import inspect
from flows.cli import app

from .conftest import Qstar


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


def assert_refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert result.stderr.startswith("Error: ")
    assert "\nNext: " in result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


def leave(folder: Path, *expected: str) -> None:
    assert sorted(p.name for p in folder.iterdir()) == sorted(expected)


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("rollouts.sample=3", "unknown field rollouts.sample"),
        ("colour=blue", "unknown field colour"),
        ("rollouts.samples=many", "rollouts.samples"),
        ("rollouts.samples=0", "rollouts.samples"),
        ("domain.ranges.max_target=1.5", "domain.ranges.max_target"),
        ("evaluation.baseline=beam", "beam"),
        ("policy.path=/no/such/policy", "/no/such/policy"),
        ("policy.path=reference:nothing", "policy.path"),
        ("qvm.init=/no/such/backbone", "qvm.init"),
        ("qvm.path=/no/such/model", "qvm.path"),
        ("qvm.path=reference:countdown-policy", "no trained Q-value model"),
        ("policy.path=reference:countdown-qvm", "no causal LM"),
        ("domain.train_file=/no/such.jsonl", "/no/such.jsonl"),
        ("out=/dev/null/x", "/dev/null"),
        ("nonsense", "path.to.field=value"),
        ("qvm.processes=3", "batch_size 8 must be a multiple of accumulation 1 x processes 3"),
        ("qvm.sharded=true", "unknown field qvm.sharded"),
    ],
)
def test_bad_field(config: Path, tmp_path: Path, field: str, word: str) -> None:
    for extra in ([], ["--plan"]):
        assert_refused(run("run", config, "--set", field, *extra), word)
    leave(tmp_path, "tiny.yaml")


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ('{"numbers": [1, 2, 3], "target": "six"}', "target must be an integer"),
        ('{"numbers": [1, 2, 3], "target": 6.0}', "target must be an integer"),
        ('{"numbers": [1, 2, "3"], "target": 6}', "numbers must be integers"),
        ('{"numbers": [1, 2, 3]}', "'target' is missing"),
        ('{"numbers": [1, 2, 3], "target": 6, "hint": 1}', "unknown field 'hint'"),
        ("[1, 2, 3]", "not a JSON object"),
        ('{"numbers": [1, 2', "row 2"),
    ],
)
def test_bad_problem_row(config: Path, tmp_path: Path, row: str, word: str) -> None:
    file = tmp_path / "problems.jsonl"
    good = json.dumps({"numbers": [1, 2, 3], "target": 6})
    file.write_text(f"{good}\n{row}\n{good}\n", encoding="utf-8")
    for split in ("train", "test"):
        result = run("run", config, "--set", f"domain.{split}_file={file}")
        assert_refused(result, f"{file}, row 2", word)
    leave(tmp_path, "problems.jsonl", "tiny.yaml")


def test_rows_that_are_not_used_are_said(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(f'{{"numbers": [1, 2, 3], "target": {t}}}\n' for t in range(6)))
    given = ("run", config, "--plan", "--set", f"domain.test_file={file}")
    result = run(*given)  # the configuration asks for 4
    assert f"Note: domain.test_problems: first 4 of 6 rows of {file}" in result.stdout
    assert "Note" not in run(*given, "--set", "domain.test_problems=null").stdout


def test_missing_configuration(tmp_path: Path) -> None:
    assert_refused(run("run", tmp_path / "no.yaml"), "no such configuration", "demo.yaml")


def test_configuration_that_is_not_yaml(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [1,\n", encoding="utf-8")
    assert_refused(run("run", tmp_path / "bad.yaml"), "not valid YAML")


@pytest.mark.parametrize("command", ["label", "train-qvm", "evaluate", "report"])
def test_stage_without_its_inputs(config: Path, tmp_path: Path, command: str) -> None:
    assert_refused(run(command, config), "is not there yet", f"qstar run {config}")
    leave(tmp_path, "tiny.yaml")


def test_show_names_the_data_sets_nearby(tmp_path: Path) -> None:
    made = tmp_path / "rollouts" / "abc"
    made.mkdir(parents=True)
    (made / "manifest.json").write_text("{}", encoding="utf-8")
    assert_refused(run("show", tmp_path), "no complete data set", f"qstar show {made}")
    assert_refused(run("show", tmp_path / "nothing"), "no such folder")
    assert_refused(run("show", made / "manifest.json" / "x"), "no such folder")


def test_damaged_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    assert_refused(run("show", tmp_path), "not valid JSON")


def test_the_real_command_line_does_the_same(config: Path, qstar: Qstar) -> None:
    result = qstar("run", config, "--set", "rollouts.sample=3")
    assert result.returncode == 2
    assert result.stderr.startswith("Error: ")
    assert "unknown field rollouts.sample" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert not result.stdout


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "Permission denied: /x/y"),
    ],
)
def test_errors_of_the_system(
    config: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, what: str
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(inspect, "plan_rows", refuse)
    assert_refused(run("run", config, "--plan"), what, f"qstar run {config} --plan", "Safe: ")


def test_ctrl_c(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect, "plan_rows", interrupt)
    result = run("run", config, "--plan")
    assert result.exit_code == 130
    assert f"Next: qstar run {config} --plan" in result.stderr
