from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.domains import countdown_problems, gsm8k
from qstar_core.grading import Outcome
from qstar_core.mdp import Problem
from qstar_core.rollouts import imported
from qstar_core.rollouts.grades import graded
from qstar_core.rollouts.import_file import ImportedSample, lines
from qstar_core.rollouts.imported import as_sample, steps_of, tables
from qstar_core.rollouts.sample import SCHEMA, step_ids

from .import_rows import row, write


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", [""]),
        ("  \n", ["  \n"]),
        ("a", ["a"]),
        ("a\nb\n", ["a\n", "b\n"]),
        ("a\n\n \nb", ["a\n\n \n", "b"]),
        ("\n\n a\nb", ["\n\n a\n", "b"]),
        ("a\r\nb\u2028c", ["a\r\n", "b\u2028c"]),
    ],
)
def test_a_line_is_a_step(text: str, steps: list[str]) -> None:
    assert steps_of(text) == steps


@given(st.text(alphabet="ab \n\t\r\u2028"))
def test_the_steps_put_together_are_the_text(text: str) -> None:
    steps = steps_of(text)
    assert "".join(steps) == text
    assert steps
    assert len(steps) == 1 or all(step.strip() for step in steps)
    assert len(steps) == max(1, sum(bool(line.strip()) for line in text.split("\n")))


def test_a_log_probability_stands_at_the_last_step() -> None:
    sample = as_sample(ImportedSample("a\nb", -3.5))
    assert [(s.text, s.tokens, s.logprob, s.ended) for s in sample.steps] == [
        ("a\n", 0, 0.0, False),
        ("b", 0, -3.5, True),
    ]
    assert (sample.finish, sample.tokens) == ("end", 0)


def rows_of(
    folder: Path, content: list[str], order: list[int] | None = None
) -> list[dict[str, Any]]:
    """The rollouts of some lines of a file; each line's samples begin with 0."""
    file = write(folder / "f.jsonl", content)
    offsets = [line.offset for line in lines(file)]
    offsets = [offsets[k] for k in order] if order is not None else offsets
    index = {"offset": np.array(offsets), "first_sample": np.zeros(len(offsets), dtype=np.int64)}
    table = pa.concat_tables(tables(file, index, "gsm8k", "f" * 64))
    assert table.schema == SCHEMA
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_rows_say_what_is_known_and_what_is_not(tmp_path: Path) -> None:
    samples = ["So 7.\n#### 7", "#### 8", "7", {"text": "a\n\nb", "logprob": -1.5}]
    found = rows_of(tmp_path, [row(7, samples)])
    problem = gsm8k.make_problem("What is 7?", 7, "train")
    assert [r["outcome"] for r in found] == ["correct", "wrong", "no_answer", "no_answer"]
    assert [r["answer"] for r in found] == ["7", "8", "", ""]
    assert [r["sample_index"] for r in found] == [0, 1, 2, 3]
    assert [r["n_steps"] for r in found] == [2, 1, 1, 2]
    assert len({r["rollout_id"] for r in found}) == 4
    for r in found:
        assert r["problem_id"] == problem.id
        assert (r["seed"], r["tokens"], r["temperature"], r["finish"]) == (0, 0, -1.0, "end")
        assert (r["grader"], r["grader_version"]) == (gsm8k.GRADER, gsm8k.GRADER_VERSION)
        assert r["policy"] == "imported:" + "f" * 24
        texts = [step["text"] for step in r["steps"]]
        ids = [(step["state_id"], step["action_id"]) for step in r["steps"]]
        assert ids == step_ids(problem, texts)
        assert [step["ended"] for step in r["steps"]] == [False] * (len(texts) - 1) + [True]


def test_an_id_is_what_a_rollout_is(tmp_path: Path) -> None:
    first = rows_of(tmp_path, [row(1, ["a", "a", "b"], policy="p"), row(2, ["a"], policy="p")])
    assert len({r["rollout_id"] for r in first}) == 4
    assert {r["policy"] for r in first} == {"imported:p"}
    moved = rows_of(tmp_path, ["", row(3), row(2, ["a"], policy="p")], order=[1])
    assert [r["rollout_id"] for r in moved] == [first[3]["rollout_id"]]
    other = rows_of(tmp_path, [row(2, ["a"], policy="q")])
    assert other[0]["rollout_id"] != first[3]["rollout_id"]


def test_tables_are_cut_but_rows_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = [row(n, ["#### 1", "#### 2", "#### 3"]) for n in range(5)]
    whole = rows_of(tmp_path, content)
    monkeypatch.setattr(imported, "BATCH", 4)
    assert rows_of(tmp_path, content) == whole
    assert len(whole) == 15


def test_a_grader_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(problem: Problem, steps: object) -> None:
        raise RuntimeError("no")

    problem = countdown_problems.from_question(
        "3 2 1 > 6", {"numbers": [1, 2, 3], "target": 6}, None
    )
    steps = ["3 + 2 = 5 | 5 1 > 6\n", "5 + 1 = 6 | 6 > 6"]
    assert graded(problem, steps).outcome is Outcome.CORRECT
    assert graded(problem, ["9" * 5000 + " + 2 = 5 | 5 > 6"]).outcome is Outcome.GRADER_ERROR
    monkeypatch.setattr(gsm8k, "grade", fail)
    grade = graded(gsm8k.make_problem("?", 1, "train"), ["#### 1"])
    assert (grade.outcome, grade.reason) == (Outcome.GRADER_ERROR, "RuntimeError: no")


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imported, "BATCH", 4)
    text = "x" * 25_000 + "\n#### 1"
    file = write(tmp_path / "f.jsonl", [row(n, [text] * 4) for n in range(200)])
    assert file.stat().st_size > 20_000_000
    offsets = np.array([line.offset for line in lines(file)])
    index = {"offset": offsets, "first_sample": np.zeros(len(offsets), dtype=np.int64)}
    tracemalloc.start()
    rows = sum(len(table) for table in tables(file, index, "gsm8k", "f" * 64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 800
    assert peak < 3_000_000
