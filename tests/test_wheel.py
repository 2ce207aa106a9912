"""A built wheel works without the checkout: its files, its version, and the demo that it brings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from qstar_core import __version__

ROOT = Path(__file__).parents[1]
SOURCES = ("qstar_core", "tasks", "flows", "deployments")
FILES = ("pyproject.toml", "README.md", "LICENSE")
TINY = {
    "domain.train_problems": 8,
    "domain.test_problems": 4,
    "rollouts.samples": 2,
    "qvm.path": "reference:countdown-qvm",
    "evaluation.max_policy_tokens": 60,
    "runtime.workers": 1,
}

# A test machine may be busy.
PATIENT = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "1200", "COLUMNS": "200"}


def without_checkout() -> dict[str, str]:
    """The environment of somebody who has no checkout."""
    return {n: v for n, v in os.environ.items() if n != "PYTHONPATH"} | PATIENT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline, from a copy, so that the checkout stays as it is."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(
            ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in FILES:
        shutil.copy(ROOT / name, tree)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(out), "."]
    subprocess.run(command, cwd=tree, env=without_checkout(), check=True)
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, which sees the dependencies here, and not the checkout."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*command, "--no-deps", "--no-index", str(wheel)], check=True)
    [site] = folder.glob("lib/python*/site-packages")
    # A folder that a .pth file adds has none of its own .pth files read: no editable install.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder


def qstar(installed: Path, cwd: Path, *arguments: str) -> str:
    done = subprocess.run(
        [installed / "bin" / "qstar", *arguments],
        cwd=cwd,
        env=without_checkout(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_folder_of_code_is_a_package() -> None:
    # The others are left out of a wheel, and an editable install does not show it.
    folders = {file.parent for name in SOURCES[:3] for file in (ROOT / name).rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


@pytest.mark.slow
def test_the_wheel_has_every_file_of_its_packages(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert wheel.name.startswith(f"qstar-{__version__}-")
    listed = subprocess.run(
        ["git", "ls-files", "qstar_core", "flows", "tasks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(listed) <= names
    assert {name for name in names if name.endswith((".js", ".css", ".html", ".safetensors"))}
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "deployments"))]
    with zipfile.ZipFile(wheel) as content:
        assert content.read("flows/demo.yaml") == (ROOT / "deployments/demo.yaml").read_bytes()


@pytest.mark.slow
def test_version_in_one_place(installed: Path, tmp_path: Path) -> None:
    assert qstar(installed, tmp_path, "--version").strip() == __version__


@pytest.mark.slow
def test_the_demo_runs_outside_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    given = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    plan = qstar(installed, tmp_path, "demo", "--plan", *given)
    assert "evaluation" in plan and not (tmp_path / "results").exists()
    table = qstar(installed, tmp_path, "demo", *given)
    assert "best-of-N" in table
    [report] = (tmp_path / "results/demo/report").glob("*/report.html")
    assert "<style" in report.read_text()
