"""What a manifest says of the machine and the packages that made a data set."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "tokenizers", "polars", "pyarrow", "numpy", "prefect")


@lru_cache(maxsize=1)
def describe() -> dict[str, Any]:
    """Python, platform, cores, package versions, and the commit where there is a checkout."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": packages,
        **_commit(),
    }


def _commit() -> dict[str, Any]:
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return {}
    command = ["git", "-C", str(root)]
    try:
        head = subprocess.run(
            [*command, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
        status = subprocess.run(
            [*command, "status", "--porcelain", "-uno"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": head.stdout.strip(), "modified": bool(status.stdout.strip())}
