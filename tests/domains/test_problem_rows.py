"""Rows of files of every kind, of folders as `datasets` reads them, and of a hub out of reach."""

from __future__ import annotations

import gzip
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from qstar_core.config import DomainConfig, RunConfig
from qstar_core.domains import gsm8k, problem_rows, problem_sets
from qstar_core.errors import UserError
from tests.data import gsm8k_file, math_file

ROWS = [{"question": f"How much is {n} + 1?", "answer": f"{n}+1\n#### {n + 1}"} for n in range(6)]


def jsonl(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write(folder: Path, name: str, rows: list[dict[str, str]]) -> Path:
    file = folder / name
    if file.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".json":
        file.write_text(json.dumps(rows))
    elif file.suffix == ".csv":
        quoted = ['"' + row["question"] + '","' + row["answer"] + '"' for row in rows]
        file.write_text("question,answer\n" + "\n".join(quoted) + "\n")
    elif file.suffix == ".gz":
        file.write_bytes(gzip.compress(jsonl(rows)))
    else:
        file.write_bytes(jsonl(rows))
    return file


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz", "r.json", "r.csv", "r.parquet"])
def test_a_file_of_any_kind_has_the_same_problems(tmp_path: Path, name: str) -> None:
    found = problem_sets.load(write(tmp_path, name, ROWS), "gsm8k", "train")
    answers = [gsm8k.right_answer(problem) for problem in found.problems]
    assert answers == [1, 2, 3, 4, 5, 6]
    assert list(found.rows.values()) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("r.parquet", b"PAR1?", "no Parquet file"),
        ("r.json", b"[1, 2", "no JSON"),
        ("r.csv", b"question\n\xff\n", "not UTF-8"),
        ("r.csv", b'question,answer\n1,"' + b"x" * 200_000 + b'"\n', "after line 1: no CSV"),
        ("r.json", b'\n\n{"question": "?"}\n\n{"question": "?"}', "row 3: field 'answer'"),
        ("r.csv", b"", "no problem in it"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        problem_sets.load(tmp_path / name, "gsm8k", "train")
    assert caught.value.next_step


def test_json_may_also_have_one_object_per_line(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(jsonl(ROWS))
    assert len(problem_sets.load(tmp_path / "r.json", "gsm8k", "train").problems) == 6


BAD = {"question": "How much?", "answer": "seven"}


def test_few_malformed_rows_are_left_out_and_named(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_bytes(jsonl([*ROWS[:2], BAD]) + b"{oops\n" * 0 + jsonl(ROWS[2:]))
    domain = DomainConfig(name="gsm8k", test_file=str(file))
    assert problem_sets.count(domain, "test") == 6
    assert problem_sets.malformed(domain, "test") == {
        "malformed_test": {
            "rows": 1,
            "named": [{"row": 3, "reason": "the answer has no #### with its number"}],
        }
    }
    assert problem_sets.notes(domain) == [
        f"{file}: 1 row is left out, for example row 3: the answer has no #### with its number"
    ]
    assert problem_sets.malformed(domain, "train") == {}


@pytest.mark.parametrize("name", ["choice", "gsm8k", "math"])
def test_many_malformed_rows_are_refused(tmp_path: Path, name: str) -> None:
    good = json.loads(problem_sets.SOURCES[name].EXAMPLE)
    texts = ("question", "problem")
    rows = [{k: f"{v} ({n})" if k in texts else v for k, v in good.items()} for n in range(300)]
    file = tmp_path / "r.jsonl"
    file.write_bytes(jsonl([*rows, {}, "x", []]))
    assert len(problem_sets.load(file, name, "train").malformed) == 3
    file.write_bytes(jsonl([*rows, {}, "x", [], 7]) + b"{oops\n")
    with pytest.raises(UserError, match=r"row 301: .*; 5 of 305 rows are malformed") as caught:
        problem_sets.load(file, name, "train")
    assert "mend row 301" in caught.value.next_step
    file.write_bytes(jsonl([{}]))
    with pytest.raises(UserError, match="row 1: "):
        problem_sets.load(file, name, "train")


def test_a_few_training_problems_that_are_held_out_are_left_out(tmp_path: Path) -> None:
    many = [{"question": f"{n}?", "answer": f"#### {n}"} for n in range(200)]
    train, test = write(tmp_path, "train.jsonl", many), write(tmp_path, "test.jsonl", many[7:9])
    domain = DomainConfig(name="gsm8k", train_file=str(train), test_file=str(test))
    problem_sets.check_disjoint(domain)
    assert problem_sets.count(domain, "train") == 198
    named = problem_sets.malformed(domain, "train")["malformed_train"]["named"]
    assert [row["row"] for row in named] == [8, 9]
    assert named[0]["reason"] == f"the problem is held out: it is row 1 of {test}"
    alone = DomainConfig(name="gsm8k", train_file=str(train))
    shapes = [problem_sets.shape(d, "train", 0) for d in (domain, alone)]
    assert shapes[0]["left_out"] and "left_out" not in shapes[1]
    write(tmp_path, "test.jsonl", many[7:10])
    with pytest.raises(UserError, match="same problem"):
        problem_sets.check_disjoint(domain)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "parquet"])
def test_a_folder_is_read_by_datasets(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, f"train.{suffix}", ROWS[:4])
    write(tmp_path, f"test.{suffix}", ROWS[4:])
    (tmp_path / "LICENSE").write_text("MIT")
    domain = DomainConfig(name="gsm8k", train_file=str(tmp_path), test_file=str(tmp_path))
    assert [problem_sets.count(domain, split) for split in ("train", "test")] == [4, 2]
    [first, _] = problem_sets.problems(domain, "test", seed=0)
    assert (first.split, gsm8k.right_answer(first)) == ("test", 5)
    before = problem_sets.shape(domain, "test", 0)
    write(tmp_path, f"test.{suffix}", ROWS[4:5])
    assert problem_sets.shape(domain, "test", 0)["file"] != before["file"]


def test_equal_rows_have_one_digest_whatever_they_lie_in(tmp_path: Path) -> None:
    found = set()
    for suffix in ("jsonl", "parquet"):
        folder = tmp_path / suffix
        folder.mkdir()
        write(folder, f"train.{suffix}", ROWS)
        found.add(problem_sets.load(folder, "gsm8k", "train").sha256)
    assert len(found) == 1


def test_a_folder_without_the_split_is_named(tmp_path: Path) -> None:
    write(tmp_path, "train.jsonl", ROWS)
    with pytest.raises(UserError, match="cannot read its split 'test'"):
        problem_sets.load(tmp_path, "gsm8k", "test")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=str(empty)) as caught:
        problem_sets.load(empty, "gsm8k", "test")
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("openai/gsm8k", True),
        ("cais/mmlu:abstract_algebra", True),
        ("truthfulqa/truthful_qa:multiple_choice:validation", True),
        ("data/test.jsonl", False),
        ("data/test.parquet", False),
        ("test", False),
        ("./a/b", False),
        ("/a/b", False),
        ("a/b/c", False),
        ("~/a", False),
    ],
)
def test_what_is_the_name_of_a_data_set_on_a_hub(path: str, named: bool) -> None:
    assert problem_rows.is_hub_name(path) is named


def test_a_folder_is_no_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert not problem_rows.is_hub_name("a/b")


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"openai/gsm8k: the data set is not here") as caught:
        problem_sets.load("openai/gsm8k", "gsm8k", "train")
    assert "name their folder" in caught.value.next_step


def test_a_hub_data_set_is_all_its_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(path: str, which: str | None, split: str, named: str) -> list[dict[str, str]]:
        asked.append((path, which, split))
        return [{"question": f"{which}?", "answer": "#### 1"}]

    monkeypatch.setattr(problem_rows, "_load", load)
    problem_rows.of_hub.cache_clear()
    assert len(problem_rows.of_hub("EleutherAI/hendrycks_math", "test")) == 7
    assert [row[0] for row in problem_rows.of_hub("EleutherAI/hendrycks_math", "test")][-1] == 7
    problem_rows.of_hub("cais/mmlu:anatomy:validation", "test")
    problem_rows.of_hub("some/thing", "train")
    assert asked[0] == ("EleutherAI/hendrycks_math", "algebra", "test")
    assert asked[-2:] == [("cais/mmlu", "anatomy", "validation"), ("some/thing", None, "train")]
    problem_rows.of_hub.cache_clear()


def test_the_published_folders_are_read() -> None:
    for name, file, counts in (
        ("gsm8k", gsm8k_file("test"), (7473, 1319)),
        ("math", math_file("test"), (7497, 5000)),
    ):
        folder = str(file.parent)
        domain = DomainConfig(name=name, train_file=folder, test_file=folder)
        found = tuple(problem_sets.count(domain, split) for split in ("train", "test"))
        assert found == counts


def test_a_template_and_imported_rollouts_do_not_go_together() -> None:
    domain = {"name": "gsm8k", "prompt": "gsm8k/chat"}
    with pytest.raises(ValueError, match=r"leave domain\.prompt out"):
        RunConfig.model_validate({"domain": domain, "rollouts": {"import_file": "f"}, "out": "o"})


def test_a_file_without_a_test_set_is_cut_by_hash(tmp_path: Path) -> None:
    many = [{"question": f"{n}?", "answer": f"#### {n}"} for n in range(400)]
    file = write(tmp_path, "r.jsonl", many)

    def found(split: str, **more: Any) -> set[Fraction]:
        domain = DomainConfig(name="gsm8k", train_file=str(file), test_share=0.25, **more)
        problem_sets.check_disjoint(domain)
        problems = problem_sets.problems(domain, split, seed=0)
        assert {problem.split for problem in problems} == {split}
        assert len(problems) == problem_sets.count(domain, split)
        return {gsm8k.right_answer(problem) for problem in problems}

    train, test = found("train"), found("test")
    assert train | test == set(range(400)) and not train & test
    assert 60 < len(test) < 140
    assert found("test", prompt="gsm8k/chat") == test
    write(tmp_path, "r.jsonl", many[::-1])
    assert found("test") == test
    write(tmp_path, "r.jsonl", many[:200])
    assert found("test") == {n for n in test if n < 200}
    shapes = [
        problem_sets.shape(
            DomainConfig(name="gsm8k", train_file=str(file), test_share=share), "test", 0
        )
        for share in (0.25, 0.5)
    ]
    assert shapes[0] != shapes[1]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "countdown", "train_file": "f"},
        {"name": "gsm8k"},
        {"name": "gsm8k", "train_file": "f", "test_file": "g"},
    ],
)
def test_a_share_is_of_a_training_file_alone(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="test_share"):
        DomainConfig.model_validate({**fields, "test_share": 0.1})
