from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.grading import numeric
from qstar_core.grading.math_forms import form


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\frac12", r"\dfrac{1}{2}"),
        (r"\frac12", "0.5"),
        (r"\tfrac{3}4", ".75"),
        (r"\frac1{72}", "1/72"),
        (r"-\frac{1}{2}", r"\frac{-1}{2}"),
        (r"1\frac{2}{3}", r"\frac{5}{3}"),
        (r"-2\frac12", "-2.5"),
        (r"10,\!000", "10000"),
        ("1{,}234", "1,234"),
        (r"\$3.50", "3.5"),
        (r"50\%", "50"),
        (r"90^\circ", r"90^{\circ}"),
        (r"15\mbox{ cm}^2", "15"),
        (r"8\sqrt{3} \text{ square inches}", r"8\sqrt3"),
        ("54 gallons".replace("gallons", "feet"), "54"),
        (r"x = 5", "5"),
        (r"f(x) = x + 1", "x+1"),
        (r"\left( 1, 2 \right)", "(1,2)"),
        (r"\text{Evelyn}", "evelyn"),
        (r"\text{(B)}", "B"),
        (r"x^{2}", "x^2"),
        (r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"x \leq 3", r"x\le3"),
        (r"$7$.", "7"),
    ],
)
def test_one_meaning_has_one_form(one: str, other: str) -> None:
    assert form(one) == form(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"1\frac{2}{3}", "4"),
        (r"8\frac47", "12"),
        ("(1,2)", "12"),
        ("1,2", "12"),
        ("x+1", "x-1"),
        ("[0,1)", "(0,1)"),
        ("B", "b"),
        (r"\sqrt{12}", r"\sqrt{1}2"),
        ("1010_2", "1010"),
        (r"\frac{1}{0}", "1"),
        ("2x", "2"),
        ("-5", "5"),
    ],
)
def test_other_meanings_have_others(one: str, other: str) -> None:
    assert form(one) != form(other)


@given(st.fractions(max_denominator=10**6))
def test_all_ways_to_write_a_number_are_one(value: Fraction) -> None:
    sign, above, below = "-" * (value < 0), abs(value.numerator), value.denominator
    forms = {
        form(f"{sign}\\frac{{{above}}}{{{below}}}"),
        form(f" {sign}{above}/{below}."),
        form(f"${sign}\\dfrac{{{above}}}{{{below}}}$"),
        form(f"{sign}{above // below}\\tfrac{{{above % below}}}{{{below}}}"),
    }
    assert forms == {numeric.show(value)}


@given(st.text(alphabet="\\fracsqrt{}0123456789.,/-+ $%^_()[]textx=", max_size=120))
def test_a_form_is_a_function_that_settles(text: str) -> None:
    assert form(text) == form(f" {text}")
    if not text.endswith("\\"):  # before a blank it is a blank itself
        assert form(text) == form(text + " ")
    assert not any(character.isspace() for character in form(text))
