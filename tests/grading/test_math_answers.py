from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.grading.math_answers import BOXES, boxed, final, said


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \boxed{5}.", "5"),
        (r"\boxed{\frac{1}{2}} and then \boxed{\sqrt{3}}", r"\sqrt{3}"),
        (r"\boxed {\frac{a}{\text{b}}}", r"\frac{a}{\text{b}}"),
        (r"\fbox{7}", "7"),
        (r"$\boxed 9$", "9"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (
            "\\boxed{\\begin{pmatrix} 1 \\\\ 2\n\\end{pmatrix}}",
            "\\begin{pmatrix} 1 \\\\ 2\n\\end{pmatrix}",
        ),
        (r"\boxed{3} was wrong, \boxed{4", "3"),  # cut off
        (r"\boxed{", None),
        (r"\boxed{}", None),
        (r"\boxedness", None),
        ("", None),
    ],
)
def test_the_last_whole_box_counts(text: str, answer: str | None) -> None:
    assert boxed(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 5.", "5"),
        ("the final answer is: $\\frac{3}{4}$. I hope it is correct.", "\\frac{3}{4}"),
        ("Final Answer: \\(x = 2\\)", "x = 2"),
        ("The answer to the question is 12.", "12"),
        ("Answer: **42**", "42"),
        ("The answer is 1.\nNo, the answer is 2.", "2"),
        ("My answer is long", None),
        ("The answer is", None),
        ("Reply: 5", None),
    ],
)
def test_a_line_may_say_the_answer(text: str, answer: str | None) -> None:
    assert said(text) == answer
    assert final(text) == answer


def test_a_box_comes_before_a_line() -> None:
    assert final("We box \\boxed{3}.\nThe answer is 4.") == "3"


def test_a_text_of_open_boxes_is_read_in_linear_time() -> None:
    assert boxed("\\boxed{" * 150_000) is None
    assert boxed("\\boxed{1}" + "\\boxed{" * (BOXES - 1)) == "1"


@given(st.text(alphabet="abc123 +-\\^_", min_size=1).map(str.strip).filter(bool))
def test_what_is_boxed_is_read_back(content: str) -> None:
    if not content.endswith("\\"):
        assert boxed(f"Hence \\boxed{{{content}}} holds.") == content


@given(st.text(alphabet="\\boxed{}fan $.:\nTheanswer is", max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    found = final(text)
    assert found is None or found.strip()
