from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qstar_core.annotations.table import (
    FILE,
    SCHEMA,
    annotated_problems,
    problem_of,
    write_annotations,
)
from qstar_core.domains import countdown, gsm8k
from qstar_core.errors import UserError
from qstar_core.labels import schema as labels
from qstar_core.labels.reading import TRAINED_ON, read_labels
from qstar_core.rollouts.sample import step_ids
from qstar_core.store import dataset, open_store

QUESTION = "Tom has 3 apples and buys 4. How many?"
PLAIN = {"question": QUESTION, "steps": ["3 + 4 = 7", "#### 7"], "labels": [1, 1]}
WRONG = {**PLAIN, "steps": ["3 + 4 = 8 ", "#### 8"], "labels": [1, 0]}


def write(
    folder: Path, rows: list[Any], domain: str = "gsm8k", neutral: Any = "right"
) -> tuple[pl.DataFrame, dict[str, Any]]:
    file = folder / "given.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("\n".join(lines), encoding="utf-8")
    out = folder / "out"
    out.mkdir(exist_ok=True)
    figures = write_annotations(file, domain, neutral, out, lambda *_: None)
    return pl.read_parquet(out / FILE), figures


def test_a_row_per_step_with_the_ids_that_rollouts_would_have(tmp_path: Path) -> None:
    rows, figures = write(tmp_path, [PLAIN, WRONG])
    assert rows["action"].to_list() == ["3 + 4 = 7\n", "#### 7", "3 + 4 = 8\n", "#### 8"]
    assert rows["ended"].to_list() == [False, True] * 2
    assert rows["step_index"].to_list() == [1, 2, 1, 2]
    assert rows["y"].to_list() == [1, 1, 1, 0]
    problem = gsm8k.without_reference(QUESTION)
    assert set(rows["problem_id"]) == {problem.id} and set(rows["prompt"]) == {problem.prompt}
    ids = step_ids(problem, ["3 + 4 = 7\n", "#### 7"])
    assert rows.head(2).select("state_id", "action_id").rows() == ids
    assert rows["rollout_id"].n_unique() == 2
    read = figures["import"]
    assert (read["lines"], read["malformed"], read["problems"], read["solutions"]) == (2, 0, 1, 2)
    assert (read["steps"], read["right_share"], read["zero_is"]) == (4, 0.75, "wrong")


def test_what_training_reads_has_the_types_of_labels(tmp_path: Path) -> None:
    write(tmp_path, [PLAIN])
    frame = read_labels([str(tmp_path / "out" / FILE)])
    assert frame.columns == list(TRAINED_ON)
    for name in TRAINED_ON:
        assert SCHEMA.field(name).type == labels.SCHEMA.field(name).type


@pytest.mark.parametrize(
    ("neutral", "expected"), [("right", [1, 1, 1, 0, 1]), ("wrong", [1, 1, 1, 0, 0])]
)
def test_a_minus_one_anywhere_makes_all_integers_ratings(
    tmp_path: Path, neutral: str, expected: list[float]
) -> None:
    one = {"question": "Other?", "steps": ["x"], "labels": [0]}
    rated = {**PLAIN, "labels": [1, -1]}
    rows, figures = write(tmp_path, [PLAIN, rated, one], neutral=neutral)
    assert rows["y"].to_list() == expected
    assert figures["import"]["zero_is"] == "neutral"
    alone = write(tmp_path, [one])[0]
    assert alone["y"].to_list() == [0.0]


def test_malformed_rows_are_set_aside_and_counted(tmp_path: Path) -> None:
    rows, figures = write(tmp_path, ["nonsense", PLAIN, {**PLAIN, "labels": [1]}, PLAIN])
    assert len(rows) == 2
    assert figures["import"]["malformed"] == 2 and figures["import"]["repeated"] == 1
    named = [entry["line"] for entry in figures["malformed"]]
    aside = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
    assert named == [1, 3] == [json.loads(line)["line"] for line in aside]
    assert "2 steps, but 1 labels" in aside[1]


def test_a_file_without_a_good_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="all 1 rows are malformed; line 1: not JSON") as caught:
        write(tmp_path, ["nonsense"])
    assert '"labels": [false, false]' in caught.value.next_step
    with pytest.raises(UserError, match="no row in it"):
        write(tmp_path, [])


def test_countdown_needs_the_reference_that_its_problems_are_made_of(tmp_path: Path) -> None:
    steps = ["3 + 2 = 5 | 5 1 > 6", "5 + 1 = 6 | 6 > 6"]
    good = {"question": "3 2 1 > 6", "reference": {"numbers": [1, 2, 3], "target": 6}}
    row = {**good, "steps": steps, "labels": [True, True]}
    rows, figures = write(tmp_path, [row, {**row, "reference": None}], domain="countdown")
    assert set(rows["problem_id"]) == {countdown.make_problem([1, 2, 3], 6).id}
    assert figures["malformed"][0]["reason"] == "field 'reference' is missing"


def test_an_unfinished_solution_ends_with_a_newline(tmp_path: Path) -> None:
    rows, _ = write(tmp_path, [{**PLAIN, "finished": False, "reference": "7"}])
    assert rows["action"].to_list() == ["3 + 4 = 7\n", "#### 7\n"]
    assert not rows["ended"].any()
    assert json.loads(rows["reference"][0]) == {"answer": "7"}


def test_the_problems_of_published_annotations(tmp_path: Path) -> None:
    write(tmp_path, [PLAIN, WRONG, {**PLAIN, "question": "Another?"}])
    uri = str(tmp_path / "annotations" / "key")
    file = open_store(uri).scratch() / FILE
    file.write_bytes((tmp_path / "out" / FILE).read_bytes())
    receipt = dataset.finish_shard(uri, "file", [file], {})
    dataset.publish(uri, {"kind": "annotations", "key": "key"}, [receipt])
    found = annotated_problems(uri, "gsm8k")
    assert {p.id for p in found} == {gsm8k.without_reference(q).id for q in (QUESTION, "Another?")}


def test_a_reference_is_kept_with_its_question() -> None:
    from qstar_core.annotations.formats import parse

    row = parse(json.dumps({**PLAIN, "reference": "#### 7"}).encode())
    assert problem_of(row, "gsm8k") == gsm8k.make_problem(QUESTION, 7, "train")
