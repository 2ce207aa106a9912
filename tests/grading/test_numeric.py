from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.grading import numeric

finite = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#### 72", "72"),
        ("####72", "72"),
        ("so\n#### 1,234,567", "1234567"),
        ("#### $1,234.50", "1234.5"),
        ("#### -$5", "-5"),
        ("#### $-5", "-5"),
        ("#### \u22125", "-5"),
        ("#### +5", "5"),
        ("#### 72.", "72"),
        ("#### 72 clips.", "72"),
        ("#### 50%", "50"),
        ("#### .5", "0.5"),
        ("#### 3/4.", "0.75"),
        ("#### 1/3", "1/3"),
        ("#### x = 5", "5"),
        ("The answer is 72.", "72"),
        ("So the final answer is: $72$.", "72"),
        ("The answer is $-5$.", "-5"),
        ("**Answer:** 1,000 dollars", "1000"),
        ("THE ANSWER IS (7)", "7"),
        (r"The answer is $\boxed{72}$.", "72"),
        (r"hence \boxed{\$1{,}234.50}", "1234.5"),
        (r"\boxed{1\frac{2}{3}}", "5/3"),
        (r"The answer is 2\dfrac{1}{4} cups", "2.25"),
        (r"\[ \boxed{x = \frac{3}{4}} \]", "0.75"),
        (r"\boxed{50\%}", "50"),
        ("The answer is 3.\nWait.\n#### 4", "4"),
        ("#### 4\nThe answer is 3", "3"),
        ("#### 4\nthe answer is clear", "4"),
        ("5 <<2+3=5>>\n#### <<5=5>>5", "5"),
        ("#### 1,23", "1"),
    ],
)
def test_a_marked_number_is_read(text: str, expected: str) -> None:
    found = numeric.marked(numeric.plain(text))
    assert found is not None
    value = numeric.value(found)
    assert value is not None
    assert numeric.show(value) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "72",
        "She has 72 clips.",
        "#### seventy-two",
        "####\n72",
        "The answer is not 5",
        "the answers are 5 and 6",
        "#### 5:30",
        "\\boxed{}",
        "### 5",
        "The answer is that 5 remain",
    ],
)
def test_what_is_not_marked_is_no_answer(text: str) -> None:
    assert numeric.marked(numeric.plain(text)) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12 - 5-3", Fraction(3)),
        ("she has 7 (of 9).", Fraction(9)),
        ("-4 degrees", Fraction(-4)),
        ("no. 8,000", Fraction(8000)),
        ("48/2 = <<48/2=24>>24", Fraction(24)),
        ("none", None),
    ],
)
def test_the_last_number(text: str, expected: Fraction | None) -> None:
    found = numeric.last_number(numeric.plain(text))
    assert (numeric.value(found) if found else None) == expected


@given(finite)
def test_a_decimal_is_read_exactly_however_it_is_written(number: object) -> None:
    exact = Fraction(str(number))
    assert numeric.read(f" {number:f}. ") == exact  # type: ignore[str-format]
    assert numeric.read(f"{number:,f}") == exact  # type: ignore[str-format]
    assert numeric.read(numeric.show(exact)) == exact


@given(st.fractions(max_denominator=10**6))
def test_the_canonical_form_can_be_read_again(number: Fraction) -> None:
    assert Fraction(numeric.show(number)) == number


@given(st.text())
def test_no_text_is_too_much(text: str) -> None:
    for marked in (numeric.marked(numeric.plain(text)), numeric.marked(f"#### {text}")):
        if marked is not None:
            numeric.value(marked)
    numeric.read(text)


def test_a_number_without_a_value() -> None:
    assert numeric.value("1/0") is None
    assert numeric.value("9" * 5000) is None
    assert numeric.read("12 clips") is None
    assert numeric.read("1e9") is None
    assert numeric.read("") is None


@pytest.mark.parametrize(
    "piece",
    ["#", "####", "#### ", "answer is ", "1", "1,", ",111", "1/", "\\boxed{", "((", "x =", "-"],
)
def test_long_texts_take_time_in_proportion(piece: str) -> None:
    def seconds(times: int) -> float:
        text = "#### " + piece * times
        start = time.perf_counter()
        numeric.last_number(text)
        numeric.marked(numeric.plain(text))
        return time.perf_counter() - start

    assert seconds(100_000) < 100 * max(seconds(10_000), 0.01)
