from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.domains import mbpp, mbpp_problems
from qstar_core.domains.many import grade_many
from qstar_core.domains.mbpp import extract, tokenizes
from qstar_core.grading import Grade, Outcome
from qstar_core.grading.code import Suite
from qstar_core.mdp import Problem, Step
from tests.data import mbpp as mbpp_rows

SUITE = Suite(("assert twice(3) == 6", "assert twice('a') == 'aa'"))
PROBLEM = mbpp.make_problem("Write a function to double.", SUITE, "test")
RIGHT = "def twice(x):\n    return x + x\n"
needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")


def cut(text: str, size: int = 7) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def test_the_prompt_shows_the_first_test_alone() -> None:
    assert PROBLEM.prompt == (
        "You are an expert Python programmer, and here is your task: Write a function to double. "
        "Your code should pass these tests:\n\nassert twice(3) == 6\n[BEGIN]\n"
    )
    everything = mbpp.make_problem("Double.", SUITE, "test", None)
    assert "twice('a')" in everything.prompt
    nothing = mbpp.make_problem("Double.", SUITE, "test", 0)
    assert nothing.prompt.endswith("task: Double.\n[BEGIN]\n")
    assert len({PROBLEM.id, everything.id, nothing.id}) == 3


@pytest.mark.parametrize(
    ("text", "program", "closed"),
    [
        (RIGHT, RIGHT, False),
        (RIGHT + "[DONE]\nmore", RIGHT, True),
        ("[BEGIN]\n" + RIGHT + "[DONE]", "\n" + RIGHT, True),
        ("```python\n" + RIGHT + "```\nIt doubles.", RIGHT, True),
        ("Here it is:\n\n```\n" + RIGHT + "```", RIGHT, True),
        ("Sure\n```py\n" + RIGHT, RIGHT, False),
        (RIGHT + "```\nIt doubles.\n```python\nprint(1)\n```", RIGHT, True),
        ("```python\n" + RIGHT + "```\n```python\nprint(twice(1))\n```", RIGHT, True),
        (RIGHT.replace("\n", "\r\n") + "[DONE]", RIGHT, True),
        ("  ```python\n" + RIGHT + "  ```", RIGHT, True),
        ("x = '```'\n", "x = '```'\n", False),
        ("", "", False),
        ("[DONE]", "", True),
    ],
)
def test_the_program_of_a_solution(text: str, program: str, closed: bool) -> None:
    assert extract(text) == (program, closed)


def test_a_prompt_may_open_the_fence() -> None:
    problem = Problem("mbpp", PROBLEM.prompt + "```python\n", PROBLEM.reference, "test")
    assert mbpp.answer(problem, cut(RIGHT + "```\nIt doubles.")) == RIGHT.strip()
    assert mbpp.is_terminal(problem, [Step("x = f(\n```")])


@given(st.text(alphabet="`[]DONEBGIx=1 \n", max_size=60))
def test_any_text_has_a_program_that_is_part_of_it(text: str) -> None:
    program, _ = extract(text)
    assert program in text


def test_a_solution_ends_with_a_mark_with_the_text_or_with_its_room() -> None:
    def over(*steps: Step) -> bool:
        return mbpp.is_terminal(PROBLEM, steps)

    assert not over()
    assert not over(Step("def twice(x):\n"))
    assert over(Step("def twice(x):\n", ended=True))
    assert over(Step(RIGHT), Step("[DO"), Step("NE]"))
    assert not over(Step(RIGHT), Step("[DO"))
    assert over(*[Step("#\n")] * mbpp.MAX_STEPS)
    assert mbpp.max_steps(PROBLEM) == mbpp.MAX_STEPS


@pytest.mark.parametrize(
    ("program", "complete", "fine"),
    [
        (RIGHT, True, True),
        (RIGHT, False, True),
        ("", True, True),
        ("def f(x:\n    return (1,\n", False, True),
        ("def f(x:\n    return (1,\n", True, False),
        ("x = 'abc", False, True),
        ("x = 'abc\ny = 1\n", False, False),
        ("x = 'abc", True, False),
        ('x = """abc\n', False, True),
        ('x = """abc\n', True, False),
        ("def f():\n        a = 1\n    b = 2\n", False, False),
        ("def f():\n        a = 1\n    b", False, True),
        ("a = 1 \\\n", False, True),
        ("a = $\n", False, False),
        ("a = ?\n", True, False),
        ("x = 1\n\0\n", True, False),
    ],
)
def test_what_tokenizes(program: str, complete: bool, fine: bool) -> None:
    assert tokenizes(program, complete) is fine


def test_the_rule_reward_is_minus_a_half_from_the_first_broken_line_on() -> None:
    steps = ["def f(x):\n", "    y = 'a", "\n    return y\n", "[DONE]"]
    assert mbpp.rule_rewards(PROBLEM, steps) == [0.0, 0.0, -0.5, -0.5]
    assert mbpp.rule_rewards(PROBLEM, cut(RIGHT)) == [0.0] * len(cut(RIGHT))
    assert mbpp.rule_rewards(PROBLEM, ["def f(x:\n", "[DONE]"]) == [0.0, -0.5]
    assert mbpp.rule_rewards(PROBLEM, []) == []


@given(st.text(max_size=80))
def test_any_text_has_rule_rewards(text: str) -> None:
    steps = cut(text)
    found = mbpp.rule_rewards(PROBLEM, steps)
    assert len(found) == len(steps) and set(found) <= {0.0, -0.5}


SOLUTIONS = {
    RIGHT: Outcome.CORRECT,
    "```python\n" + RIGHT + "```": Outcome.CORRECT,
    RIGHT + "[DONE]\ndef twice(x): return 0": Outcome.CORRECT,
    "def twice(x): return 6": Outcome.WRONG,
    "I cannot do that.": Outcome.WRONG,
    "import sys; sys.exit(0)": Outcome.WRONG,
    "": Outcome.NO_ANSWER,
    "[DONE]": Outcome.NO_ANSWER,
}


@needs_bwrap
def test_grades_of_many_come_in_their_order() -> None:
    pairs = [(PROBLEM, cut(text)) for text in SOLUTIONS] * 2
    found = grade_many("mbpp", pairs)
    assert [grade.outcome for grade in found] == list(SOLUTIONS.values()) * 2
    assert found[1].answer == RIGHT.strip()
    assert mbpp.grade(*pairs[3]) == found[3]


def test_equal_solutions_are_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[str] = []

    def grade(program: str, suite: Suite) -> Grade:
        run.append(program)
        return Grade(Outcome.WRONG, program)

    monkeypatch.setattr(mbpp.code, "grade", grade)
    other = mbpp.make_problem("Another.", Suite(("assert f(1) == 1",)), "test")
    pairs: Sequence[tuple[Problem, list[str]]] = [
        (PROBLEM, ["a"]),
        (PROBLEM, ["a", "\n"]),
        (other, ["a"]),
        (PROBLEM, ["b"]),
        (PROBLEM, [" "]),
    ]
    found = grade_many("mbpp", pairs)
    assert sorted(run) == ["a", "a", "b"]
    assert [grade.answer for grade in found] == ["a", "a", "a", "b", ""]


def test_a_domain_without_grades_of_many_is_graded_one_by_one() -> None:
    from qstar_core.domains import gsm8k

    problem = gsm8k.make_problem("How many?", 4, "test")
    found = grade_many("gsm8k", [(problem, ["#### 4"]), (problem, ["#### 5"])])
    assert [grade.outcome for grade in found] == [Outcome.CORRECT, Outcome.WRONG]
    assert grade_many("mbpp", []) == []


def graded(name: str) -> list[tuple[int, Grade]]:
    rows = [{**row, "task_id": None} for row in mbpp_rows(name)]
    problems = [mbpp_problems.from_row(row, "test") for row in rows]
    pairs = [(p, [row["code"]]) for p, row in zip(problems, rows, strict=True) if p is not None]
    assert len(pairs) == len(rows)
    ids = [row["task_id"] for row in mbpp_rows(name)]
    return list(zip(ids, mbpp.grade_many(pairs), strict=True))


@needs_bwrap
@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("mbpp.jsonl", 974), ("sanitized-mbpp.json", 427)])
def test_all_reference_programs_are_correct(
    name: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    found = graded(name)
    with capsys.disabled():
        print(f"\n{count} reference programs of {name} in {time.monotonic() - began:.0f} s")
    assert [(task, grade.reason) for task, grade in found if not grade.reward] == []
    assert len(found) == count


@needs_bwrap
def test_the_traps_of_the_data_set() -> None:
    rows = {row["task_id"]: row for row in mbpp_rows()}
    for task in (367, 927, 596):  # set-up after the program, twice; a test that needs `sys`
        problem = mbpp_problems.from_row({**rows[task], "task_id": None}, "test")
        assert problem is not None
        assert mbpp.grade(problem, [rows[task]["code"]]).outcome is Outcome.CORRECT, task


def test_what_the_reference_holds_is_enough_to_grade() -> None:
    assert mbpp.tests_of(PROBLEM) == SUITE
    assert set(json.loads(PROBLEM.reference)) == {"tests", "imports", "setup", "own"}
