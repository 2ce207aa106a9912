from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.feather as feather
import pytest

from qstar_core.domains import gsm8k
from qstar_core.errors import UserError
from qstar_core.rollouts import import_survey
from qstar_core.rollouts.import_survey import INDEX, PROBLEMS, QUARANTINE, survey

from .import_rows import MALFORMED, row, write


def look(
    folder: Path, lines: list[str | bytes], left_out: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], pl.DataFrame, list[dict[str, Any]], list[dict[str, Any]]]:
    """Figures, problems, index and quarantine of a file."""
    made = folder / "made"
    made.mkdir()
    file = write(folder / "f.jsonl", lines)
    figures = survey(file, "gsm8k", left_out, made, lambda *_: None)
    aside = made / QUARANTINE
    quarantine = [json.loads(x) for x in aside.read_text().splitlines()] if aside.exists() else []
    index = feather.read_table(made / INDEX).to_pylist()
    return figures, pl.read_parquet(made / PROBLEMS), index, quarantine


def test_malformed_rows_are_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    lines: list[str | bytes] = []
    for number, malformed in enumerate(MALFORMED.values()):
        lines += [row(number), malformed]
    figures, problems, index, quarantine = look(tmp_path, lines)
    count = len(MALFORMED)
    assert figures["lines"] == 2 * count
    assert figures["malformed"] == len(quarantine) == count
    assert figures["problems"] == len(problems) == count
    assert figures["samples"] == 2 * count
    assert [q["line"] for q in quarantine] == list(range(2, 2 * count + 1, 2))
    for says, entry in zip(MALFORMED, quarantine, strict=True):
        assert says in entry["reason"]
        assert len(entry["begins"]) <= 200
    assert figures["named"] == [
        {"line": q["line"], "reason": q["reason"]} for q in quarantine[: import_survey.NAMED]
    ]
    assert [entry["place"] for entry in index] == list(range(count))


def test_nothing_is_set_aside_where_nothing_is_wrong(tmp_path: Path) -> None:
    figures, problems, _, quarantine = look(tmp_path, [row(1), row(2)])
    assert (figures["malformed"], figures["named"], quarantine) == (0, [], [])
    assert not (tmp_path / "made" / QUARANTINE).exists()
    expected = [gsm8k.make_problem(f"What is {n}?", n, "train") for n in (1, 2)]
    assert problems["problem_id"].to_list() == [p.id for p in expected]
    assert problems["split_asked"].to_list() == ["train"] * 2


def test_the_rows_of_a_problem_are_counted_through(tmp_path: Path) -> None:
    lines: list[str | bytes] = [row(1), row(2, ["a"]), row(1, ["b"]), row(3), row(1, ["c", "d"])]
    figures, problems, index, _ = look(tmp_path, lines)
    assert len(problems) == figures["problems"] == 3
    assert [(e["place"], e["first_sample"], e["samples"]) for e in index] == [
        (0, 0, 2),
        (0, 2, 1),
        (0, 3, 2),
        (1, 0, 1),
        (2, 0, 2),
    ]
    content = (tmp_path / "f.jsonl").read_bytes()
    assert [content[e["offset"] :].split(b"\n")[0].decode() for e in index] == [
        lines[k] for k in (0, 2, 4, 1, 3)
    ]


def test_held_out_problems_are_set_aside_unless_the_row_says_so_itself(tmp_path: Path) -> None:
    held = frozenset(gsm8k.make_problem(f"What is {n}?", n, "test").id for n in (1, 2))
    _, problems, _, quarantine = look(tmp_path, [row(1), row(2, split="test"), row(3)], held)
    assert problems["split"].to_list() == ["test", "train"]
    assert [(q["line"], q["reason"].split(":")[0]) for q in quarantine] == [
        (1, "the problem is held out")
    ]


def test_a_problem_is_in_one_split_only(tmp_path: Path) -> None:
    _, problems, _, quarantine = look(tmp_path, [row(1, split="test"), row(1), row(2)])
    assert problems["split"].to_list() == ["test", "train"]
    assert [q["line"] for q in quarantine] == [2]


def test_many_problems_are_written_a_batch_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_survey, "BATCH", 3)
    _, problems, _, _ = look(tmp_path, [row(n) for n in range(10)])
    assert problems["prompt"].to_list() == [f"Question: What is {n}?\nAnswer:\n" for n in range(10)]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "no row in it"),
        (["", " "], "no row in it"),
        (["x", "y"], "all 2 rows are malformed; line 1: not JSON"),
    ],
)
def test_a_file_without_a_good_row_is_refused(
    tmp_path: Path, lines: list[str | bytes], says: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        look(tmp_path, lines)
    assert "a right row: " in caught.value.next_step


def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    file = write(tmp_path / "f.jsonl", [row(n, ["x" * 100_000]) for n in range(200)])
    assert file.stat().st_size > 20_000_000
    tracemalloc.start()
    figures = survey(file, "gsm8k", frozenset(), tmp_path, lambda *_: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert figures["problems"] == 200
    assert peak < 2_000_000
