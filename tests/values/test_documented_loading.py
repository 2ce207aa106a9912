"""The lines of docs/training.md and README.md that load a checkpoint, as they stand."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from qstar_core.values.score import TransformersValue
from tests.models import tiny_qvm

from .labelled import PROBLEMS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("document", ["README.md", "docs/training.md"])
def test_the_documented_lines_give_the_same_scores(document: str) -> None:
    after = (ROOT / document).read_text(encoding="utf-8").split("<!-- load -->\n\n")[1]
    block = after.split("\n\n")[0]
    lines = textwrap.dedent(block).strip().splitlines()
    assert len(lines) == 3
    folder = tiny_qvm()
    value = TransformersValue(folder, "float32", "cpu", 4)
    for problem in PROBLEMS[:3]:
        text = problem.prompt + "1 + 1 = 2 | 2 > 3\n"
        names: dict[str, Any] = {"folder": folder, "text": text}
        exec("\n".join(lines), names)
        assert names["q"] == pytest.approx(value.score([text], [False])[0], abs=2e-6)
