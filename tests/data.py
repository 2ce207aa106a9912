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
GSM8K = {"train": "train.jsonl.gz", "test": "test.jsonl"}
MATH = {"train": "train.jsonl.gz", "test": "test.jsonl.gz"}


def data_file(folder: str, name: str) -> Path:
    """A file of a data set; skips the test where it is not on this machine."""
    file = Path(os.environ.get("QSTAR_DATA", BESIDE)) / folder / name
    if not file.is_file():
        pytest.skip(f"no {file}: set QSTAR_DATA to a folder with {folder}/{name}")
    return file


def gsm8k_file(split: str) -> Path:
    """The GSM8K file of a split."""
    return data_file("gsm8k", GSM8K[split])


def math_file(split: str) -> Path:
    """The MATH file of a split."""
    return data_file("math", MATH[split])


@lru_cache(maxsize=4)
def rows_of(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file, plain or gzip."""
    content = file.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    text = content.decode("utf-8")
    if text.startswith("["):
        found: list[dict[str, Any]] = json.loads(text)
        return found
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def gsm8k(split: str) -> list[dict[str, Any]]:
    """The rows of a split: question and answer."""
    return rows_of(gsm8k_file(split))


def math(split: str) -> list[dict[str, Any]]:
    """The rows of a split: problem, level, type and solution."""
    return rows_of(math_file(split))


def mbpp_file(name: str = "mbpp.jsonl") -> Path:
    """A file of MBPP, whose task ids say the splits."""
    return data_file("mbpp", name)


def mbpp(name: str = "mbpp.jsonl") -> list[dict[str, Any]]:
    """The rows of a file of MBPP: the full set as JSON lines, the sanitized one as a list."""
    return rows_of(mbpp_file(name))
