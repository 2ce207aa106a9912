"""deployments/Containerfile, as far as it can be checked without building it."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[1]
FILE = ROOT / "deployments/Containerfile"
SECRET = re.compile(r"(?i)(secret|password|token|api_?key|access_?key)\s*[=:]|AKIA[0-9A-Z]{16}")


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    with FILE.open("rb") as file:
        found = DockerfileParser(fileobj=file).structure
    return [(i["instruction"], i["value"]) for i in found if i["instruction"] != "COMMENT"]


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    tree: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return tree


def values(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [value for instruction, value in instructions if instruction == name]


def test_the_base_is_a_pinned_python(instructions: list[tuple[str, str]]) -> None:
    [base] = values(instructions, "FROM")
    assert instructions[0][0] == "FROM"
    name, _, tag = base.partition(":")
    assert name == "python", "an image by its short name: registries are the user's matter"
    assert re.fullmatch(r"3\.(1[1-9])\.\d+-slim-[a-z]+", tag)


def test_it_runs_as_an_ordinary_user(instructions: list[tuple[str, str]]) -> None:
    users = values(instructions, "USER")
    assert users and users[-1] not in ("root", "0")
    made = [run for run in values(instructions, "RUN") if "useradd" in run]
    assert made and made[0].split("useradd", 1)[1].split("&&")[0].split()[-1] == users[-1]
    names = [name for name, _ in instructions]
    assert "RUN" not in names[names.index("USER") :]


def test_what_is_copied_is_tracked_and_not_ignored(instructions: list[tuple[str, str]]) -> None:
    ignored = {
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"
    }
    sources = [w for value in values(instructions, "COPY") for w in value.split()[:-1]]
    assert {"qstar_core", "tasks", "flows", "deployments"} <= set(sources)
    for source in sources:
        listed = subprocess.run(
            ["git", "ls-files", source], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert listed.stdout, f"{source} is not in git"
        assert source not in ignored
    assert not values(instructions, "ADD")


def test_data_environments_and_secrets_stay_out() -> None:
    ignored = set((ROOT / ".dockerignore").read_text().splitlines())
    assert {".git", ".venv*", "results", "**/.env*", ".s3", ".prefect"} <= ignored


def test_what_is_installed_is_in_the_project(
    instructions: list[tuple[str, str]], project: dict[str, dict[str, object]]
) -> None:
    [install] = [run for run in values(instructions, "RUN") if "pip install" in run]
    [asked] = re.findall(r"\.\[([\w,]+)\]", install)
    assert set(asked.split(",")) <= set(project["optional-dependencies"])
    assert "--constraint constraints.txt" in install
    assert not re.search(r"index-url|trusted-host|https?://", FILE.read_text())


def test_the_command_is_one_of_the_project(
    instructions: list[tuple[str, str]], project: dict[str, dict[str, object]]
) -> None:
    [command] = values(instructions, "CMD")
    assert json.loads(command)[0] in project["scripts"]
    assert not values(instructions, "ENTRYPOINT")


def test_no_secret_is_in_it() -> None:
    assert not SECRET.search(FILE.read_text())
