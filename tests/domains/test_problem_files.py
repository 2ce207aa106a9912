"""What decides a problem beside its row: the template, the domain's options, the split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qstar_core.config import DomainConfig
from qstar_core.domains import mbpp, problem_sets
from qstar_core.errors import UserError
from tests.data import mbpp_file


def task(number: int, task_id: int | None = None) -> dict[str, Any]:
    tests = [f"assert add({n}) == {n + number}" for n in (1, 2, 3)]
    named = {} if task_id is None else {"task_id": task_id}
    return {"text": f"Write a function to add {number}.", "test_list": tests, **named}


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


@pytest.mark.parametrize(("shown", "count"), [("first", 1), ("all", 3), ("none", 0)])
def test_template_and_options_of_a_domain_go_together(
    tmp_path: Path, shown: Any, count: int
) -> None:
    file = write(tmp_path, "m.jsonl", [task(7)])
    own, asked = (
        DomainConfig(name="mbpp", test_file=file, shown_tests=shown, prompt=prompt)
        for prompt in (None, "mbpp/three-shot")
    )
    [plain], [problem] = (problem_sets.problems(d, "test", seed=0) for d in (own, asked))
    assert problem.reference == plain.reference
    examples, _, last = problem.prompt.rpartition("[DONE]\n\n")
    assert last == plain.prompt
    assert examples.count("[BEGIN]") == 3
    assert last.count("assert add(") == count
    fields = mbpp.prompt_fields(plain)
    assert fields["question"] == "Write a function to add 7."
    assert fields["tests"] == task(7)["test_list"][:count]
    shapes = [problem_sets.shape(domain, "test", 0) for domain in (own, asked)]
    assert [shape["shown_tests"] for shape in shapes] == [shown, shown]
    assert shapes[1]["prompt"]["name"] == "mbpp/three-shot" and "prompt" not in shapes[0]


def test_task_ids_say_the_split_and_a_share_is_of_the_training_tasks(tmp_path: Path) -> None:
    file = write(tmp_path, "m.jsonl", [task(n, n) for n in (5, 11, 12, 511, *range(601, 801))])
    both = DomainConfig(name="mbpp", train_file=file, test_file=file)
    assert [problem_sets.count(both, split) for split in ("train", "test")] == [200, 2]

    def held_out(**more: Any) -> set[str]:
        domain = DomainConfig(name="mbpp", train_file=file, test_share=0.25, **more)
        found = [problem_sets.problems(domain, split, seed=0) for split in ("train", "test")]
        assert sum(map(len, found)) == 200
        assert [{p.split for p in problems} for problems in found] == [{"train"}, {"test"}]
        return {problem.reference for problem in found[1]}

    kept = held_out()
    assert 25 < len(kept) < 75
    assert held_out(shown_tests="all", prompt="mbpp/three-shot") == kept


def test_a_file_of_another_split_has_no_problem(tmp_path: Path) -> None:
    file = write(tmp_path, "m.jsonl", [task(1, 601)])
    with pytest.raises(UserError, match="no problem in it of the split test; 1 rows are of others"):
        problem_sets.load(file, "mbpp", "test")


def test_malformed_tasks_are_left_out_and_named(tmp_path: Path) -> None:
    file = write(tmp_path, "m.jsonl", [task(1), {"text": "no tests"}, task(2)])
    found = problem_sets.load(file, "mbpp", "train")
    assert len(found.problems) == 2
    assert found.malformed == ((2, "field 'test_list' is missing"),)


def test_mbpp_is_read_from_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "train.jsonl", [task(1, 601), task(2, 602)])
    write(tmp_path, "test.jsonl", [task(3, 11)])
    domain = DomainConfig(name="mbpp", train_file=str(tmp_path), test_file=str(tmp_path))
    assert [problem_sets.count(domain, split) for split in ("train", "test")] == [2, 1]


def test_the_published_tasks_in_three_shots() -> None:
    file = str(mbpp_file())
    domain = DomainConfig(name="mbpp", train_file=file, test_file=file, prompt="mbpp/three-shot")
    problem_sets.check_disjoint(domain)
    assert [problem_sets.count(domain, split) for split in ("train", "test")] == [374, 500]
    assert all(
        problem.prompt.count("[BEGIN]") == 4
        for problem in problem_sets.problems(domain, "test", seed=0)
    )


def test_countdown_knows_its_split_by_itself() -> None:
    with pytest.raises(ValidationError, match="test_share"):
        DomainConfig(train_file="f", test_share=0.5)
