"""A small run up to its labels, made once, and copies of it to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .runs import config_of, make


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of the small run; not to be changed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    make(config_of(str(out)))
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(whole, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def rollouts(out: Path) -> Path:
    """The rollouts of the copy: three shards."""
    (found,) = (out / "rollouts").iterdir()
    return found


@pytest.fixture
def labels(out: Path) -> Path:
    """The labels of the copy: one shard."""
    (found,) = (out / "labels").iterdir()
    return found
