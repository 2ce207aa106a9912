from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.annotations.formats import EXAMPLE, AnnotatedRow, Solution, parse, value


def parsed(row: Any) -> AnnotatedRow:
    return parse(json.dumps(row).encode())


PLAIN = {"question": "2 + 2?", "steps": ["2 + 2 = 5", "#### 5"], "labels": [False, False]}


def test_the_example_is_a_right_row() -> None:
    row = parse(EXAMPLE.encode())
    assert row.format == "plain" and row.scale == "value" and row.reference is None
    assert row.solutions == (Solution(("3 + 4 = 8", "#### 8"), (0.0, 0.0), True),)


@pytest.mark.parametrize("names", [("question", "steps"), ("prompt", "completions")])
def test_plain_rows_have_the_names_of_other_tools_too(names: tuple[str, str]) -> None:
    question, steps = names
    row = parsed({question: "q", steps: ["a"], "labels": [0.25], "finished": False, "more": 1})
    assert row.question == "q" and row.solutions == (Solution(("a",), (0.25,), False),)


@pytest.mark.parametrize(
    ("labels", "scale"),
    [
        ([True, False], "value"),
        ([1, -1], "rating"),
        ([1, 0], "integer"),
        ([0.5, 1], "value"),  # a number from 0 to 1 may be written without its point
        ([1.0, 0.0], "value"),
    ],
)
def test_the_scale_of_plain_labels(labels: list[Any], scale: str) -> None:
    assert parsed({**PLAIN, "labels": labels}).scale == scale


@pytest.mark.parametrize(
    ("label", "scale", "signed", "neutral", "expected"),
    [
        (0.25, "value", True, "wrong", 0.25),
        (0.0, "integer", False, "right", 0.0),  # no -1 in the file: 0 is wrong
        (0.0, "integer", True, "right", 1.0),  # there is: 0 is neutral
        (0.0, "rating", True, "wrong", 0.0),
        (-1.0, "rating", True, "right", 0.0),
        (1.0, "rating", True, "wrong", 1.0),
    ],
)
def test_what_a_label_stands_for(
    label: float, scale: Any, signed: bool, neutral: Any, expected: float
) -> None:
    assert value(label, scale, signed, neutral) == expected


def offered(*ratings: int | None, chosen: int | None, human: str | None = None) -> dict[str, Any]:
    texts = [{"text": f"c{k}", "rating": r, "flagged": False} for k, r in enumerate(ratings)]
    written = None if human is None else {"text": human, "rating": None, "source": "human"}
    return {"completions": texts, "human_completion": written, "chosen_completion": chosen}


def prm800k(*steps: dict[str, Any], finish: str = "found_error") -> AnnotatedRow:
    question = {"problem": "q", "ground_truth_answer": "12", "pre_generated_steps": None}
    label = {"steps": list(steps), "total_time": 9, "finish_reason": finish}
    return parsed({"labeler": "x", "question": question, "label": label})


def test_prm800k_completions_that_were_not_chosen_end_solutions_of_their_own() -> None:
    row = prm800k(offered(1, -1, chosen=0), offered(0, chosen=0), offered(-1, -1, chosen=None))
    assert (row.question, row.scale, row.format) == ("q", "rating", "prm800k")
    assert [(s.steps, s.labels) for s in row.solutions] == [
        (("c1",), (-1.0,)),
        (("c0", "c0", "c0"), (1.0, 0.0, -1.0)),
        (("c0", "c0", "c1"), (1.0, 0.0, -1.0)),
    ]
    assert not any(solution.finished for solution in row.solutions)


def test_prm800k_a_solution_ends_with_its_answer_and_a_human_step_is_right() -> None:
    end = offered(1, chosen=0)
    end["completions"][0]["text"] = "so\n\n# Answer\n\n12"
    row = prm800k(offered(-1, chosen=None, human="mine"), end, finish="solution")
    assert row.solutions[0] == Solution(("c0",), (-1.0,), False)
    assert row.solutions[1] == Solution(("mine", "so\n\n# Answer\n\n12"), (1.0, 1.0), True)


def test_prm800k_a_solution_that_breaks_off_is_kept_once() -> None:
    nothing = {"completions": None, "human_completion": None, "chosen_completion": None}
    assert prm800k(offered(1, chosen=0), nothing).solutions == (Solution(("c0",), (1.0,), False),)
    with pytest.raises(ValueError, match="no step of it has a rating"):
        prm800k(nothing)


SHEPHERD = {  # the beginning of the data set's own example
    "input": "If Buzz bought a pizza, what's twenty less? Step 1: The total is 5+8 = 13. ки\n"
    "Step 2: The waiter ate 6 slices. ки\nStep 3: The answer is: 52 ки",
    "label": "If Buzz bought a pizza, what's twenty less? Step 1: The total is 5+8 = 13. +\n"
    "Step 2: The waiter ate 6 slices. -\nStep 3: The answer is: 52 -",
    "task": "GSM8K",
}


def test_math_shepherd_has_a_mark_in_the_place_of_each_tag() -> None:
    row = parsed(SHEPHERD)
    assert row.question.strip() == "If Buzz bought a pizza, what's twenty less?"
    [solution] = row.solutions
    assert [step.strip() for step in solution.steps] == [
        "Step 1: The total is 5+8 = 13.",
        "Step 2: The waiter ate 6 slices.",
        "Step 3: The answer is: 52",
    ]
    assert (solution.labels, solution.finished, row.scale) == ((1.0, 0.0, 0.0), True, "value")


WORDS = st.text("abc +-=1\n", min_size=1).filter(lambda text: bool(text.strip()))


@given(WORDS, st.lists(st.tuples(WORDS, st.booleans()), min_size=1))
def test_math_shepherd_rows_are_read_as_they_were_written(
    question: str, steps: list[tuple[str, bool]]
) -> None:
    texts = [f"Step {k}: {text}" for k, (text, _) in enumerate(steps, start=1)]
    tagged = f"{question} " + "\n".join(f"{text} ки" for text in texts)
    marks = ["+" if right else "-" for _, right in steps]
    marked = f"{question} " + "\n".join(f"{t} {m}" for t, m in zip(texts, marks, strict=True))
    row = parsed({"input": tagged, "label": marked})
    assert row.question.strip() == question.strip()
    assert [s.strip() for s in row.solutions[0].steps] == [text.strip() for text in texts]
    assert row.solutions[0].labels == tuple(float(right) for _, right in steps)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ([], "not a JSON object"),
        ({**PLAIN, "labels": [True]}, "2 steps, but 1 labels"),
        ({**PLAIN, "labels": [True, 2]}, r"labels\.1 must be from -1 to 1, got 2"),
        ({**PLAIN, "labels": [0.5, -1]}, r"labels\.1 must be from 0 to 1, got -1"),
        ({**PLAIN, "labels": ["+", "-"]}, r"labels\.0"),
        ({**PLAIN, "steps": ["a", " "]}, "step 2 is empty"),
        ({**PLAIN, "steps": []}, "steps: List should have at least 1 item"),
        ({**PLAIN, "steps": "a"}, "steps: Input should be a valid list"),
        ({**PLAIN, "question": " "}, "the question is empty"),
        ({"steps": ["a"], "labels": [1]}, "question: Field required"),
        ({**SHEPHERD, "label": SHEPHERD["label"][:-1] + "?"}, r"neither \+ nor - .* tag 3"),
        ({**SHEPHERD, "label": "other"}, "label differs from input before step 1"),
        ({**SHEPHERD, "input": "no tag", "label": "no tag"}, "behind the last|no 'Step 1:'"),
        ({"question": {"problem": "q"}, "label": {}}, r"label\.steps: Field required"),
        (
            {"question": {"problem": "q"}, "label": {"steps": [offered(3, chosen=0)]}},
            r"label\.steps\.0\.completions\.0\.rating",
        ),
    ],
)
def test_malformed_rows_say_why(row: Any, why: str) -> None:
    with pytest.raises((ValueError, TypeError), match=why):
        parsed(row)


def test_a_line_that_is_too_long_is_malformed() -> None:
    with pytest.raises(ValueError, match="longer than"):
        parse(None)
