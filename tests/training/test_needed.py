from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from transformers.utils import versions

from qstar_core.errors import UserError
from qstar_core.training.needed import ADAPTER, POLICY, VALUE_MODEL, check_installed

ROOT = Path(__file__).parents[2]


def test_what_qstar_installs_is_enough() -> None:
    check_installed("qvm", [*VALUE_MODEL, *ADAPTER])
    check_installed("sft", POLICY)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {*VALUE_MODEL, *ADAPTER, *POLICY} <= set(project["dependencies"])


def test_a_missing_package_and_another_version_name_one_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = versions.importlib.metadata.version

    def installed(name: str) -> str:
        if name == "peft":
            raise PackageNotFoundError(name)
        return "1.0.0" if name == "accelerate" else usual(name)

    monkeypatch.setattr(versions.importlib.metadata, "version", installed)
    with pytest.raises(UserError, match=f"prm: {sys.executable} cannot train, it lacks") as caught:
        check_installed("prm", [*VALUE_MODEL, *ADAPTER, "numpy>=1"])
    command = f"{sys.executable} -m pip install 'accelerate>=1.15,<2' 'peft>=0.21,<1'"
    assert caught.value.next_step == command
