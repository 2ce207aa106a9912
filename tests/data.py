"""The published data sets that tests read: a folder outside of the repository, never copied in."""

from __future__ import annotations

import gzip
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BESIDE = ROOT.parent / "shared" / "data"
FILES = {"train": "train.jsonl.gz", "test": "test.jsonl"}


def gsm8k_file(split: str) -> Path:
    """The GSM8K file of a split; skips the test where it is not on this machine."""
    folder = Path(os.environ.get("QSTAR_DATA", BESIDE)) / "gsm8k"
    file = folder / FILES[split]
    if not file.is_file():
        pytest.skip(f"no GSM8K at {folder}: set QSTAR_DATA to a folder with gsm8k/{file.name}")
    return file


@lru_cache(maxsize=2)
def gsm8k(split: str) -> list[dict[str, Any]]:
    """The rows of a split: question and answer."""
    content = gsm8k_file(split).read_bytes()
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    return [json.loads(line) for line in content.decode("utf-8").splitlines() if line.strip()]


def mbpp_file(name: str = "mbpp.jsonl") -> Path:
    """A file of MBPP; skips the test where it is not on this machine."""
    folder = Path(os.environ.get("QSTAR_DATA", BESIDE)) / "mbpp"
    file = folder / name
    if not file.is_file():
        pytest.skip(f"no MBPP at {folder}: set QSTAR_DATA to a folder with mbpp/{name}")
    return file


@lru_cache(maxsize=2)
def mbpp(name: str = "mbpp.jsonl") -> list[dict[str, Any]]:
    """The rows of a file of MBPP: the full set as JSON lines, the sanitized one as a list."""
    text = mbpp_file(name).read_text(encoding="utf-8")
    if text.startswith("["):
        found: list[dict[str, Any]] = json.loads(text)
        return found
    return [json.loads(line) for line in text.splitlines() if line.strip()]
