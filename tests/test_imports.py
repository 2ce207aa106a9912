"""The arrows of docs/adr/0001: the contracts of pyproject.toml hold, and they would notice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "qstar_core")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Checks the contracts of a source tree."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources, to break."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=lambda folder, names: [
                n for n in names if not (n.endswith(".py") or Path(folder, n).is_dir())
            ],
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "statement", "arrow"),
    [
        ("qstar_core/mdp.py", "import prefect", "qstar_core is not allowed to import prefect"),
        ("qstar_core/mdp.py", "import tasks", "qstar_core is not allowed to import tasks"),
        ("tasks/__init__.py", "import flows", "tasks is not allowed to import flows"),
        (
            "qstar_core/values/__init__.py",
            "import qstar_core.search",
            "qstar_core.values is not allowed to import qstar_core.search",
        ),
        (
            "qstar_core/labels/__init__.py",
            "import qstar_core.search",
            "qstar_core.labels is not allowed to import qstar_core.search",
        ),
    ],
)
def test_a_wrong_arrow_is_noticed(tree: Path, module: str, statement: str, arrow: str) -> None:
    with (tree / module).open("a") as file:
        file.write(f"\n{statement}\n")
    done = lint_imports(tree)
    assert done.returncode == 1
    assert arrow in " ".join(done.stdout.split())


def test_a_new_room_has_to_be_placed(tree: Path) -> None:
    (tree / "qstar_core" / "attic.py").write_text("")
    done = lint_imports(tree)
    assert done.returncode == 1
    assert "attic" in done.stdout
