from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from qstar_core.config import DomainConfig
from qstar_core.domains import mbpp, mbpp_problems, problem_sets
from qstar_core.errors import UserError
from qstar_core.mdp import Problem
from tests.data import mbpp as mbpp_rows

ROW: dict[str, Any] = json.loads(mbpp_problems.EXAMPLE)


def made(row: dict[str, Any], split: str = "test", shown: str = "first") -> Problem:
    problem = mbpp_problems.from_row(row, split, shown)
    assert problem is not None
    return problem


def test_full_and_sanitized_rows_give_the_same_problem() -> None:
    other = {"prompt": ROW["text"], "test_list": ROW["test_list"], "test_imports": []}
    assert made(ROW).id == made(other).id
    with_returns = {"text": ROW["text"] + "\r\n", "test_list": [ROW["test_list"][0] + "\r\n"]}
    assert made(with_returns).id == made(ROW).id


def test_which_tests_are_shown_is_part_of_the_problem() -> None:
    row = {**ROW, "test_list": ["assert f(1) == 2", "assert f(2) == 3"]}
    ids = {shown: made(row, shown=shown) for shown in mbpp_problems.SHOWN}
    assert [problem.prompt.count("assert") for problem in ids.values()] == [1, 2, 0]
    assert len({problem.reference for problem in ids.values()}) == 1
    assert len({problem.id for problem in ids.values()}) == 3


def test_the_task_id_says_the_split() -> None:
    def taken(task: int | None, split: str) -> bool:
        return mbpp_problems.from_row({**ROW, "task_id": task}, split) is not None

    assert [taken(task, "test") for task in (10, 11, 510, 511, 601)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert [taken(task, "train") for task in (11, 600, 601, 974)] == [False, False, True, True]
    assert taken(None, "train") and taken(None, "test")


def test_a_function_named_like_a_builtin_is_known_by_the_right_program() -> None:
    row = {"text": "Sum.", "test_list": ["assert sum(10, 15) == 6"]}
    with pytest.raises(ValueError, match="calls no function of the program"):
        mbpp_problems.from_row(row, "test")
    problem = made({**row, "code": "def sum(a, b):\n    return 6"})
    assert mbpp.tests_of(problem).own == ("sum",)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"text": 3}, "text must be a text"),
        ({"text": " "}, "empty"),
        ({"test_list": None}, "'test_list' is missing"),
        ({"test_list": []}, "no tests"),
        ({"test_list": [3]}, "test_list must be a list of texts"),
        ({"test_list": ["f(3)"]}, "test 1: not a single assert"),
        ({"test_list": ["assert f(1) == 1", "assert 1 =="]}, "test 2: no Python"),
        ({"task_id": "11"}, "task_id must be a whole number"),
        ({"task_id": True}, "task_id must be a whole number"),
        ({"test_setup_code": "x ="}, "setup is no Python"),
        ({"test_imports": ["x = 1"]}, "more than import statements"),
        ({"test_imports": "import math"}, "test_imports must be a list"),
        ({"code": ["x"]}, "code must be a text"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    """One is left out, as of any data set; several of a short file end the reading."""
    file, bad = tmp_path / "rows.jsonl", json.dumps({**ROW, **change})
    file.write_text(f"{json.dumps(ROW)}\n{bad}\n")
    [(row, said)] = problem_sets.load(file, "mbpp", "test").malformed
    assert row == 2 and re.search(why, said)
    file.write_text(f"{json.dumps(ROW)}\n{bad}\n{bad}\n")
    with pytest.raises(UserError, match=f"row 2: .*{why}") as caught:
        problem_sets.load(file, "mbpp", "test")
    assert mbpp_problems.EXAMPLE in caught.value.next_step


@pytest.mark.parametrize(
    "row", [[], 3, "text", {}, {"text": "x"}, {"test_list": ["assert f() == 1"]}]
)
def test_a_row_that_lacks_something_is_refused(row: Any) -> None:
    with pytest.raises((TypeError, KeyError)):
        mbpp_problems.from_row(row, "test")


def test_one_file_has_both_splits(tmp_path: Path) -> None:
    file = tmp_path / "mbpp.jsonl"
    rows = [{**ROW, "text": f"Task {task}.", "task_id": task} for task in (2, 11, 12, 555, 601)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    domain = DomainConfig(name="mbpp", train_file=str(file), test_file=str(file))
    problem_sets.check_disjoint(domain)
    assert [problem_sets.count(domain, split) for split in ("train", "test")] == [1, 2]
    file.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(UserError, match="no problem in it of the split test; 1 rows are of others"):
        problem_sets.load(file, "mbpp", "test")


def test_shown_tests_are_part_of_the_shape_of_this_domain_alone(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(ROW) + "\n")

    def shape(shown: Any) -> dict[str, Any]:
        domain = DomainConfig(name="mbpp", test_file=str(file), shown_tests=shown)
        return problem_sets.shape(domain, "test", 0)

    assert shape("first") != shape("all") != shape("none")
    assert "shown_tests" not in problem_sets.shape(DomainConfig(), "test", 0)


def test_an_imported_row_has_its_tests_as_reference() -> None:
    tests = ROW["test_list"]
    found = mbpp_problems.from_question(ROW["text"], tests, None)
    assert found.split == "train" and found.id == made(ROW).id
    full = {"test_list": tests, "test_imports": ["import math"]}
    assert "import math" in mbpp_problems.from_question("Add.", full, "test").reference
    for wrong in (3, None, "assert f(1) == 1", {}):
        with pytest.raises((TypeError, KeyError)):
            mbpp_problems.from_question("Add.", wrong, None)


def test_tokens_of_a_rollout() -> None:
    domain = DomainConfig(name="mbpp")
    assert mbpp_problems.expected_tokens(domain, 100) == 100
    assert mbpp_problems.expected_tokens(domain, 10**6) == mbpp.MAX_STEPS * mbpp.STEP_TOKENS
    step, left = mbpp_problems.left_tokens(domain, 100)
    assert step == mbpp.STEP_TOKENS and left[:5] == [76, 52, 28, 4, 0]
    assert len(left) == mbpp.MAX_STEPS - 1


@pytest.mark.parametrize(("name", "count"), [("mbpp.jsonl", 974), ("sanitized-mbpp.json", 427)])
def test_every_row_of_the_data_set_is_read(name: str, count: int) -> None:
    rows = mbpp_rows(name)
    problems = [made({**row, "task_id": None}) for row in rows]
    assert len(problems) == count
    splits = [
        sum(mbpp_problems.from_row(row, s) is not None for row in rows) for s in ("train", "test")
    ]
    assert splits == ([374, 500] if count == 974 else splits)
