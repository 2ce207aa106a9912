from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest

from qstar_core.values import candidates
from qstar_core.values.candidates import candidate_values


class Length:
    """Scores a text by its length, and notes what it was asked."""

    fingerprint = "length"

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        self.asked += zip(texts, ended, strict=True)
        return [len(text) / 100 for text in texts]


def path(problem: str, *steps: tuple[str, str, bool]) -> dict[str, object]:
    names = ("text", "action_id", "ended")
    return {
        "problem_id": problem,
        "steps": [dict(zip(names, step, strict=True)) for step in steps],
    }


PATHS = pl.LazyFrame(
    [
        path("p", ("a\n", "1", False), ("b\n", "2", False), ("c", "3", True)),
        path("q", ("a\n", "4", False), ("bb", "5", False)),
        path("p", ("a\n", "1", False), ("d", "6", True)),
        path("p", ("a\n", "1", False), ("b\n", "2", False), ("c", "3", False)),
    ]
)
PROMPTS = {"p": "P\n", "q": "Q\n"}


@pytest.mark.parametrize("chunk", [1, 4096])
def test_each_action_after_the_first_is_scored_once(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "CHUNK", chunk)
    value, counts = Length(), list[int]()
    found = candidate_values(PATHS, PROMPTS, value, {*"123456"}, counts.append)
    assert found.rows() == [("2", 0.06), ("3", 0.07), ("6", 0.05), ("5", 0.06)]
    assert value.asked == [
        ("P\na\nb\n", False),
        ("P\na\nb\nc", True),  # as it was first stored
        ("P\na\nd", True),
        ("Q\na\nbb", False),
    ]
    assert sum(counts) == 4 and len(counts) == (2 if chunk == 1 else 1)


def test_only_what_is_wanted_is_scored() -> None:
    value = Length()
    found = candidate_values(PATHS, PROMPTS, value, {"1", "6"})
    assert found.rows() == [("6", 0.05)]
    nothing = candidate_values(PATHS, PROMPTS, value, set())
    assert nothing.rows() == [] and nothing.schema == pl.Schema(candidates.SCHEMA)
    assert len(value.asked) == 1
