"""What is faster says the same: trees of answers, and what differs, against math-verify itself."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy, latex2sympy
from math_verify import grader
from sympy import I, Symbol, cos, oo, pi, sin, sqrt, srepr, symbols, zoo
from sympy.abc import x, y
from sympy.core.evalf import PrecisionExhausted

from qstar_core.domains import math_problems
from qstar_core.domains.math import right_answer
from qstar_core.grading import math_faster
from qstar_core.grading.math_faster import differ
from qstar_core.grading.math_worker import compare
from tests.data import math

ORIGINAL = _Latex2Sympy.create_parser


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in ((_Latex2Sympy, "create_parser"), (grader, "sympy_symbolic_eq")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # is put back
    math_faster.apply()


def tree(latex: str) -> str:
    """The expression of a text, or what was raised."""
    try:
        return srepr(latex2sympy(latex, normalization_config=None))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def original_tree(latex: str) -> str:
    """The same, as it is without the changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Latex2Sympy, "create_parser", ORIGINAL)
        return tree(latex)


def answers(split: str) -> list[str]:
    """The different right answers of MATH."""
    found = []
    for row in math(split):
        try:
            found.append(right_answer(math_problems.from_row(row, split)))
        except ValueError:  # two boxes are empty
            continue
    return list(dict.fromkeys(found))


def test_some_answers_have_the_same_tree(faster: None) -> None:
    texts = [*answers("test")[::60], "((", "1,2", r"x \in [0,1)", r"\frac", "2 + ", r"\{1, 2\}"]
    assert {text: tree(text) for text in texts} == {text: original_tree(text) for text in texts}


@pytest.mark.slow
def test_all_answers_have_the_same_tree(faster: None) -> None:
    for text in dict.fromkeys(answers("train") + answers("test")):
        assert tree(text) == original_tree(text), text


def check_findings(texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compares each text with itself and the next one, and all that clearly differs once more."""
    original, mistaken = grader.sympy_symbolic_eq, []

    def both(one: Any, other: Any) -> bool:
        equal = bool(original(one, other))
        if equal and not math_faster.unless_different(original)(one, other):
            mistaken.append((one, other))
        return equal

    monkeypatch.setattr(grader, "sympy_symbolic_eq", both)
    for one, other in zip(texts, [*texts[1:], texts[0]], strict=True):
        with contextlib.suppress(Exception):  # what math-verify cannot judge
            compare(one, one)
            compare(one, other)
    assert mistaken == []


def test_some_answers_are_compared_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    check_findings(answers("test")[::100], monkeypatch)


@pytest.mark.slow
def test_all_answers_are_compared_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    check_findings(list(dict.fromkeys(answers("train") + answers("test"))), monkeypatch)


@settings(max_examples=25)
@given(st.text(alphabet="x12+-^_{}()[],=<\\ ", max_size=12))
def test_any_text_has_the_same_tree(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Latex2Sympy, "create_parser", ORIGINAL)
        patch.setattr(grader, "sympy_symbolic_eq", grader.sympy_symbolic_eq)
        wanted = tree(text)
        math_faster.apply()
        assert tree(text) == wanted


whole = Symbol("n", integer=True)
positive = Symbol("p", positive=True)
real = symbols("r", real=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (x + 1, x + 2),
        (sqrt(2), pi),
        (x * y, x + y),
        (sqrt(real), real),
        (1 + I, 1 - I),
        (10**30 + sqrt(2), 10**30 + sqrt(3)),
    ],
)
def test_what_clearly_differs(one: Any, other: Any) -> None:
    assert differ(one, other)
    assert not grader.sympy_symbolic_eq(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((x + 1) ** 2, x**2 + 2 * x + 1),
        (sin(x) ** 2 + cos(x) ** 2, 1),
        (sqrt(3 + 2 * sqrt(2)), 1 + sqrt(2)),
        (cos(2 * pi * whole), 1),  # at no other point
        (sqrt(positive**2), positive),
        (oo, oo),
        (zoo, 1),
        (x, x + 1e-9),
    ],
)
def test_what_may_be_equal_is_left_to_the_original(one: Any, other: Any) -> None:
    with contextlib.suppress(PrecisionExhausted, TypeError):  # nothing is known then either
        assert not differ(one, other)
    assert math_faster.unless_different(lambda *_: True)(one, other)


def test_what_cannot_be_subtracted_is_left_to_the_original() -> None:
    asked = []
    compared = math_faster.unless_different(lambda *pair: bool(asked.append(pair)))
    assert not compared("text", 1)
    assert asked == [("text", 1)]
