from __future__ import annotations

import pytest

from qstar_core.domains import DOMAINS, choice, gsm8k, math
from qstar_core.domains.own_part import TRIED, own_part
from qstar_core.mdp import Problem

PROBLEMS = {
    "gsm8k": gsm8k.make_problem("How many?", 7, "train"),
    "math": math.make_problem("How many?", "7", "train"),
    "choice": choice.make_problem("How many?", {"A": "7", "B": "8"}, "7", "train"),
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_a_next_problem_behind_the_answer_is_not_read(problem: Problem) -> None:
    steps = ["The answer is 7.\n", "\n", "Question: And now?\n", "Answer:\n", "The answer is 8.\n"]
    assert DOMAINS[problem.domain].grade(problem, steps).reward == 1
    assert DOMAINS[problem.domain].answer(problem, steps) == "7"


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_a_question_that_is_said_again_first_is_read_on(problem: Problem) -> None:
    steps = ["Problem: how many?\n", "Question: how many?\n", "The answer is 7.\n"]
    assert DOMAINS[problem.domain].grade(problem, steps).reward == 1


def test_only_the_first_such_lines_are_tried() -> None:
    text = "Q: ?\n" * TRIED + "yes\nQ: ?\n"
    assert own_part(text, lambda part: "yes" in part) == text
    assert own_part(text[5:], lambda part: "yes" in part).endswith("yes\n")
    assert own_part("", lambda part: True) == ""
