from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.config import DomainConfig
from qstar_core.domains import choice, choice_problems, problem_sets
from qstar_core.domains.problem_sets import ProblemFile
from qstar_core.grading import Outcome
from qstar_core.mdp import Problem, Step
from tests.data import data_file

OPTIONS = {"A": "21", "B": "A prime number.", "C": "A"}
PROBLEM = choice.make_problem("What is 23?", OPTIONS, "a prime number", "test")


def test_a_problem_is_its_question_with_its_options() -> None:
    asked = "What is 23?\nA. 21\nB. A prime number.\nC. A"
    assert PROBLEM.prompt == f"Question: {asked}\nAnswer:\n"
    assert choice.question(PROBLEM) == asked
    assert choice.options(PROBLEM) == OPTIONS
    assert choice.right_answer(PROBLEM) == "a prime number"


@pytest.mark.parametrize(
    ("question", "options", "answer", "says"),
    [
        (" ", OPTIONS, "21", "question is empty"),
        ("?", {"A": "21"}, "21", "fewer than two"),
        ("?", {"A": "21", "B": " "}, "21", "an option is empty"),
        ("?", OPTIONS, "22", "none of the options"),
    ],
)
def test_what_is_no_choice_is_refused(
    question: str, options: dict[str, str], answer: str, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        choice.make_problem(question, options, answer, "train")


LISTED = {"text": ["x", "y"], "label": ["1", "2"]}
RIGHT, WRONG = Outcome.CORRECT, Outcome.WRONG


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("The answer is B.", RIGHT),
        ("So\nAnswer: (B)", RIGHT),
        ("#### B", RIGHT),
        ("\\boxed{\\text{B}}", RIGHT),
        ("The answer is \\boxed{B}.", RIGHT),
        ("The answer is option B, since 23 is prime.", RIGHT),
        ("The answer is B: a prime number", RIGHT),
        ("The answer is B. 21", WRONG),  # the label of one option, the text of another
        ("The answer is **a Prime  number**!", RIGHT),
        ("The answer is a prime number because nothing divides it.", RIGHT),
        ("The answer is a prime numbering.", WRONG),
        ("The answer is A.", WRONG),
        ("The answer is C.", WRONG),
        ("The answer is D.", WRONG),
        ("The answer is 21.", WRONG),
        ("The answer is B.\nNo, the answer is A.", WRONG),
        ("The answer is", Outcome.NO_ANSWER),
        ("It is a prime number.", Outcome.NO_ANSWER),
        ("", Outcome.NO_ANSWER),
    ],
)
def test_grades(text: str, outcome: Outcome) -> None:
    steps = text.splitlines(keepends=True)
    grade = choice.grade(PROBLEM, steps)
    assert grade.outcome is outcome
    assert bool(grade.reason) == (outcome is not RIGHT)
    if outcome is RIGHT:
        assert choice.answer(PROBLEM, steps) == grade.answer == "A prime number."
        assert choice.lenient(PROBLEM, steps)


def test_the_last_line_may_say_it_leniently() -> None:
    assert choice.lenient(PROBLEM, ["Nothing divides it.\n", "It is odd.\n", "(B)\n", "\n"])
    assert not choice.lenient(PROBLEM, ["B\n", "or something else\n"])
    assert not choice.lenient(PROBLEM, [])


def test_a_solution_ends_with_its_choice_or_its_text() -> None:
    begun = [Step("Nothing divides it.\n")]
    assert not choice.is_terminal(PROBLEM, [])
    assert not choice.is_terminal(PROBLEM, begun)
    assert choice.is_terminal(PROBLEM, [*begun, Step("The answer is B.\n")])
    assert choice.is_terminal(PROBLEM, [Step("So", ended=True)])
    assert choice.is_terminal(PROBLEM, begun * choice.max_steps(PROBLEM))
    assert choice.rule_rewards(PROBLEM, ["a", "b"]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("row", "options", "answer"),
    [
        ({"question": "?", "choices": ["x", "y"], "answer": 1}, "AB", "y"),
        ({"question": "?", "choices": ["x", "y"], "answer": "B"}, "AB", "y"),
        ({"question": "?", "options": ["x", "y"], "answer": "x"}, "AB", "x"),
        ({"question": "?", "choices": LISTED, "answerKey": "2"}, "12", "y"),
        ({"context": "c", "query": "?", "options": ["x", "y"], "correct_option": 0}, "AB", "x"),
        ({"question": "?", "mc1_targets": {"choices": ["x", "y"], "labels": [0, 1]}}, "AB", "y"),
        ({"Question": "?", "Best Answer": "x", "Incorrect Answers": "y; z; y"}, "ABC", "x"),
        ({"question": "Q? Options: A: x B: y ", "answer": " y"}, "AB", "y"),
        ({"question": "Q? 1) x, or 2) y", "answer": "y"}, "12", "y"),
        ({"question": "Is this metaphor suitable?", "answer": "no"}, "AB", "no"),
    ],
)  # fmt: skip
def test_every_form_of_a_row_is_read(row: dict[str, Any], options: str, answer: str) -> None:
    problem = choice_problems.from_row(row, "test")
    assert "".join(choice.options(problem)) == options
    assert choice.right_answer(problem) == answer
    assert problem == choice_problems.from_row(row, "test")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (7, "not a JSON object"),
        ({"choices": ["x", "y"], "answer": 0}, "'question' is missing"),
        ({"question": 1, "choices": ["x", "y"], "answer": 0}, "question must be a text"),
        ({"question": "?", "choices": ["x", "y"]}, "'answer' is missing"),
        ({"question": "?", "choices": ["x", "y"], "answer": 2}, "place from 0 to 1"),
        ({"question": "?", "choices": ["x", "y"], "answer": True}, "must be a text"),
        ({"question": "?", "choices": ["x", "y"], "answer": "z"}, "none of the options"),
        ({"question": "?", "choices": "xy", "answer": 0}, "choices must be a list"),
        ({"question": "?", "choices": ["x", 1], "answer": 0}, "must be a text"),
        ({"question": "?", "choices": {"text": ["x"], "label": []}, "answer": 0}, "labels"),
        ({"question": "?", "answer": "x"}, "no options"),
        ({"question": "Q? Options: A: x B: y", "answer": "z"}, "none of the options"),
    ],
)
def test_malformed_rows_are_refused(row: object, says: str) -> None:
    with pytest.raises((TypeError, KeyError, ValueError), match=says):
        choice_problems.from_row(row, "train")


def test_imported_questions_have_their_options_beside_them_or_inside() -> None:
    inside = choice_problems.from_question("Q? Options: A: x B: y", "y", None)
    assert inside.split == "train"
    beside = choice_problems.from_question("?", {"options": ["x", "y"], "answer": "y"}, "test")
    assert choice.options(beside) == {"A": "x", "B": "y"}
    assert choice_problems.expected_tokens(DomainConfig(name="choice"), 96) == 96


WORD = st.text(alphabet="abcdefgh ", min_size=2, max_size=12).filter(lambda t: len(t.strip()) > 1)


@given(st.lists(WORD, min_size=2, max_size=6, unique_by=choice.plain), st.data())
def test_labels_and_texts_choose_the_same(texts: list[str], data: st.DataObject) -> None:
    options = dict(zip(choice.LABELS, texts, strict=False))
    right = data.draw(st.sampled_from(texts))
    problem = choice.make_problem("?", options, right, "train")
    for label, text in options.items():
        outcomes = {
            choice.grade(problem, [f"The answer is {said}."]).outcome for said in (label, text)
        }
        assert outcomes == {RIGHT if text == right else WRONG}


@given(st.text(max_size=200))
def test_no_text_is_too_much_for_the_grader(text: str) -> None:
    outcome = choice.grade(PROBLEM, [text]).outcome
    assert outcome in (RIGHT, WRONG, Outcome.NO_ANSWER)
    assert choice.lenient(PROBLEM, [text]) in (True, False)


FILES = {
    ("adareasoner", "source.json"): (994, 6),
    ("mmlu_stem", "test.jsonl"): (3006, 12),
    ("truthfulqa", "TruthfulQA.csv"): (813, 0),
}
AMBIGUOUS = {
    "c": "an option's text is another option's label",
    "B": "an option's text is another option's label",
    "newList": "the option has several lines, an answer one",
}


def read(folder: str, name: str) -> ProblemFile:
    return problem_sets.load(data_file(folder, name), "choice", "test")


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_the_published_files_are_read_whole(folder: str, name: str) -> None:
    file = read(folder, name)
    assert (len(file.problems), file.repeated) == FILES[folder, name]
    assert file.malformed == ()


def labels_of(problem: Problem, right: bool) -> list[str]:
    answer = choice.plain(choice.right_answer(problem))
    return [
        k for k, text in choice.options(problem).items() if (choice.plain(text) == answer) is right
    ]


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_gold_is_right_and_every_other_option_wrong(folder: str, name: str) -> None:
    exceptions = []
    for problem in read(folder, name).problems:
        options = choice.options(problem)
        right = choice.right_answer(problem)
        if choice.grade(problem, [f"So.\nThe answer is {right}"]).outcome is not RIGHT:
            exceptions.append(right)
        for label in labels_of(problem, right=True):
            assert choice.grade(problem, [f"The answer is ({label})."]).outcome is RIGHT
        for label in labels_of(problem, right=False):
            assert choice.grade(problem, [f"The answer is ({label})."]).outcome is WRONG
            if options[label] not in options:
                said = [f"The answer is {options[label]}"]
                assert choice.grade(problem, said).outcome is WRONG, (right, options[label])
    assert all(right.split()[0] in AMBIGUOUS for right in exceptions), exceptions
    assert len(exceptions) <= 3


def test_a_share_of_adareasoner_is_held_out() -> None:
    file = str(data_file("adareasoner", "source.json"))
    domain = DomainConfig(name="choice", train_file=file, test_share=0.2)
    counts = [problem_sets.count(domain, split) for split in ("train", "test")]
    assert sum(counts) == 994
    assert 160 < counts[1] < 240
