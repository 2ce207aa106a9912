from __future__ import annotations

from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.config import DomainConfig
from qstar_core.domains import DOMAINS, gsm8k, gsm8k_problems, problem_sets
from qstar_core.errors import UserError
from qstar_core.grading import Outcome
from qstar_core.mdp import Problem, Step
from tests.data import gsm8k as gold
from tests.data import gsm8k_file

PROBLEM = gsm8k.make_problem("How many?", "3 + 4 = 7\n#### 7", "test")


def test_a_problem_is_its_question_and_a_canonical_number() -> None:
    assert PROBLEM.prompt == "Question: How many?\nAnswer:\n"
    assert PROBLEM.reference == '{"answer":"7"}'
    assert PROBLEM.split == "test"
    same = [gsm8k.make_problem(" How many?\n", r, "test") for r in (7, 7.0, "7.0", "$7.", "#### 7")]
    assert {p.id for p in same} == {PROBLEM.id}
    assert gsm8k.right_answer(gsm8k.make_problem("?", "1,234.5", "train")) == Fraction(2469, 2)


@pytest.mark.parametrize("reference", ["", "seven", "1e9", True, None, [7], float("nan"), "#### ?"])
def test_a_reference_without_a_number_is_refused(reference: object) -> None:
    with pytest.raises(ValueError, match="reference"):
        gsm8k.make_problem("How many?", reference, "train")
    with pytest.raises(ValueError, match="question is empty"):
        gsm8k.make_problem(" ", 7, "train")


@pytest.mark.parametrize(
    ("text", "outcome", "answer", "lenient"),
    [
        ("3 + 4 = 7\n#### 7", Outcome.CORRECT, "7", True),
        ("The answer is $7.00.", Outcome.CORRECT, "7", True),
        ("\\boxed{7}", Outcome.CORRECT, "7", True),
        ("#### 8", Outcome.WRONG, "8", False),
        ("3 + 4 = 7", Outcome.NO_ANSWER, "", True),
        ("#### 8, no: 7", Outcome.WRONG, "8", True),
        ("", Outcome.NO_ANSWER, "", False),
        ("#### " + "9" * 500, Outcome.WRONG, "9" * 100, False),
        ("#### 7/0", Outcome.WRONG, "7/0", False),
    ],
)
def test_grades(text: str, outcome: Outcome, answer: str, lenient: bool) -> None:
    steps = text.splitlines(keepends=True)
    grade = gsm8k.grade(PROBLEM, steps)
    assert (grade.outcome, grade.answer) == (outcome, answer)
    assert bool(grade.reason) == (outcome is not Outcome.CORRECT)
    assert gsm8k.lenient(PROBLEM, steps) == lenient
    if outcome is Outcome.CORRECT:
        assert gsm8k.answer(PROBLEM, steps) == answer


def test_equal_answers_are_one_answer() -> None:
    texts = ["#### 0.5", "#### 1/2", "The answer is .50"]
    assert {gsm8k.answer(PROBLEM, [text]) for text in texts} == {"0.5"}
    assert gsm8k.answer(PROBLEM, ["no"]) == ""


def test_a_solution_ends_with_its_answer_or_its_text() -> None:
    begun = [Step("3 + 4 = 7\n")]
    assert not gsm8k.is_terminal(PROBLEM, [])
    assert not gsm8k.is_terminal(PROBLEM, begun)
    assert gsm8k.is_terminal(PROBLEM, [*begun, Step("#### 7\n")])
    assert gsm8k.is_terminal(PROBLEM, [Step("So", ended=True)])
    assert gsm8k.is_terminal(PROBLEM, begun * gsm8k.max_steps(PROBLEM))


def test_the_rule_reward_judges_each_line_by_itself() -> None:
    steps = ["3 + 4 = 8\n", "that is it\n", "8 / 2 = <<8/2=4>>4\n", "#### 4"]
    assert gsm8k.rule_rewards(PROBLEM, steps) == [0.0, 1.0, 1.0, 1.0]


@given(st.lists(st.text(), max_size=5))
def test_no_text_is_too_much_for_the_grader(steps: list[str]) -> None:
    grade = gsm8k.grade(PROBLEM, steps)
    assert grade.outcome in (Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER)
    assert len(gsm8k.rule_rewards(PROBLEM, steps)) == len(steps)
    assert gsm8k.lenient(PROBLEM, steps) in (True, False)


@pytest.mark.parametrize("name", sorted(problem_sets.SOURCES))
def test_every_domain_offers_the_same(name: str) -> None:
    for offered in ("max_steps", "is_terminal", "answer", "grade", "rule_rewards"):
        assert callable(getattr(DOMAINS[name], offered))
    assert DOMAINS[name].GRADER and DOMAINS[name].GRADER_VERSION
    assert set(get_args(DomainConfig.model_fields["name"].annotation)) == set(problem_sets.SOURCES)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([1], "not a JSON object"),
        ({"question": "?"}, "'answer' is missing"),
        ({"answer": "#### 1"}, "'question' is missing"),
        ({"question": 1, "answer": "#### 1"}, "question must be a text"),
        ({"question": "?", "answer": 1}, "answer must be a text"),
        ({"question": "?", "answer": "1"}, "has no ####"),
        ({"question": "?", "answer": "#### one"}, "no number"),
        ({"question": "", "answer": "#### 1"}, "question is empty"),
    ],
)
def test_malformed_rows_are_refused(row: object, says: str) -> None:
    with pytest.raises((TypeError, KeyError, ValueError), match=says):
        gsm8k_problems.from_row(row, "train")


def test_further_fields_are_left_alone() -> None:
    row = {"question": "How many?", "answer": "#### 7", "id": 5}
    assert gsm8k_problems.from_row(row, "test") == PROBLEM
    assert gsm8k_problems.from_question("How many?", 7, "test") == PROBLEM
    assert gsm8k_problems.from_question("How many?", 7, None).split == "train"
    assert gsm8k_problems.expected_tokens(DomainConfig(name="gsm8k"), 96) == 96


def problems(split: str) -> list[Problem]:
    return [gsm8k_problems.from_row(row, split) for row in gold(split)]


def test_gold_against_gold_is_right_and_against_another_wrong() -> None:
    checked = 0
    for split in ("train", "test"):
        rows, known = gold(split), problems(split)
        answers = [gsm8k.right_answer(problem) for problem in known]
        for place, (row, problem) in enumerate(zip(rows, known, strict=True)):
            steps = row["answer"].splitlines(keepends=True)
            assert gsm8k.grade(problem, steps).outcome is Outcome.CORRECT, row
            assert gsm8k.lenient(problem, steps)
            other = next(
                k
                for k in range(place + 1, place + len(rows))
                if answers[k % len(rows)] != answers[place]
            )
            other_steps = rows[other % len(rows)]["answer"].splitlines(keepends=True)
            assert gsm8k.grade(problem, other_steps).outcome is Outcome.WRONG, row
            checked += 1
    assert checked == 8792


def test_the_files_of_the_data_set_are_read() -> None:
    domain = DomainConfig(
        name="gsm8k", train_file=str(gsm8k_file("train")), test_file=str(gsm8k_file("test"))
    )
    try:
        problem_sets.check_disjoint(domain)
    except UserError as error:  # said by name, were it so
        pytest.fail(error.what)
    assert problem_sets.count(domain, "train") == 7473
    assert problem_sets.count(domain, "test") == 1319
    shape = problem_sets.shape(domain, "train", 0)
    assert set(shape) == {"domain", "split", "count", "file"}
