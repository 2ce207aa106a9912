"""The code blocks of the tutorial and the how-tos run as they stand, page by page, in order.

Shell blocks and Python blocks run in a folder of the page, with `deployments` and `benchmarks` in
it as in a checkout; YAML is read as a configuration or as sections of one. ``<!-- file: NAME
-->`` before a block also writes it there, for the blocks behind it; ``<!-- not run: REASON -->``
excuses one. Those of README.md and of the reference pages run in test_reference_pages.py. ``make
test-docs`` runs both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from qstar_core.config import RunConfig, SearchConfig
from tests.docs.pages import PAGES, ROOT, Block, blocks
from tests.s3 import S3Server

RUN = [ROOT / "docs/tutorial.md", *sorted((ROOT / "docs/howto").glob("*.md"))]
RUNNABLE = {"shell", "python", "yaml", "json"}
S3_PAGE = "s3.md"


def check_yaml(block: Block) -> None:
    """Reads it as a configuration: a whole one, or sections of one, or search methods."""
    tree = yaml.safe_load(block.text.replace("{date}", "2026-11-20"))
    if isinstance(tree, list):
        TypeAdapter(list[SearchConfig]).validate_python(tree)
    elif "out" in tree:
        RunConfig.model_validate(tree)
    else:
        for name, value in tree.items():
            TypeAdapter(RunConfig.model_fields[name].annotation).validate_python(value)


def run(command: list[str], folder: Path, home: Path, prefect: str) -> str:
    """Runs a block where the checkout is installed, and says all of its output if it fails."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "QSTAR_HOME": str(folder),
        "PREFECT_API_URL": prefect,
        "TMPDIR": str(home),
        "COLUMNS": "160",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_of_all_pages_is_a_configuration(page: Path) -> None:
    for block in blocks(page):
        if block.kind == "yaml":
            check_yaml(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_json_of_all_pages_is_json(page: Path) -> None:
    for block in blocks(page):
        for line in block.text.splitlines() if block.kind == "json" else []:
            json.loads(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_excused(page: Path) -> None:
    for block in blocks(page):
        known = block.excuse or block.file or block.kind in RUNNABLE
        assert known or not block.names_a_command, (
            f"{block.where}: fence it as ```bash, or say why it is not run"
        )
        assert block.excuse is None or len(block.excuse) > 10, f"{block.where}: give the reason"


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_blocks_run_in_the_order_of_the_page(
    page: Path,
    tmp_path: Path,
    prefect_server: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, home = tmp_path / "checkout", tmp_path / "tmp"
    folder.mkdir()
    home.mkdir()
    for name in ("deployments", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    if page.name == S3_PAGE:
        server: S3Server = request.getfixturevalue("s3_server")
        for name, value in server.env().items():
            monkeypatch.setenv(name, value)
        server.bucket("qstar")
    for block in blocks(page):
        if block.file is not None:
            (folder / block.file).write_text(block.text)
        if block.excuse is None and block.kind in ("shell", "python"):
            shell = ["bash", "-euo", "pipefail", "-c", block.text]
            command = shell if block.kind == "shell" else [sys.executable, "-c", block.text]
            try:
                run(command, folder, home, prefect_server)
            except AssertionError as error:
                pytest.fail(f"{block.where}\n{block.text}\n{error}")
