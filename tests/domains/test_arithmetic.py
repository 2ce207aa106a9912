from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.domains import countdown
from qstar_core.domains.arithmetic import LONGEST, parts, reaches
from qstar_core.grading import Outcome

PROBLEM = countdown.make_problem([4, 9, 10, 13], 24)
EIGHTS = countdown.make_problem([3, 3, 8, 8], 24)


@pytest.mark.parametrize(
    "play",
    [
        ["13 - 9 = 4 | 10 4 4 > 24\n", "10 - 4 = 6 | 6 4 > 24\n", "6 * 4 = 24 | 24 > 24"],
        ["13-9=4|10 4 4>24\n", "10-4=6\n", "6*4=24"],  # spaces, and nothing of what remains
        ["13 - 9 = 4\n10 - 4 = 6\n6 * 4 = 24"],  # several lines in a step
        ["(13 - 9) * (10 - 4) = 24"],  # the answer alone
        ["(13 - 9) * (10 - 4)"],
        ["Let us see.\n", "13 - 9 = 4 | 9 9 9 > 24\n", "10 - 4 = 6\n", "6 x 4 = 24"],
    ],
)
def test_right_arithmetic_in_any_form(play: list[str]) -> None:
    assert countdown.lenient(PROBLEM, play)


@pytest.mark.parametrize(
    "play",
    [
        [],
        ["24"],
        ["24 | 24 > 24"],
        ["13 - 9 = 5 | 10 5 4 > 24\n", "10 - 5 = 5\n", "5 * 4 = 24"],  # untrue
        ["13 - 9 = 4\n", "10 - 4 = 6"],  # 4 is left
        ["13 + 10 + 1 = 24"],  # 1 is not there
        ["6 * 4 = 24"],
        ["(13 - 9) * (10 - 4) = 25"],
        ["13 ** 9 = 24"],
        ["13 // 9 = 1"],
        ["(13 - 9) * (10 - 4"],
        ["13 / 0 = 24"],
        ["__import__('os').system('true') = 24"],
        ["(" * 5000 + "13"],
        ["9" * 5000 + " + 1 = 24"],
    ],
)
def test_what_does_not_reach_the_target(play: list[str]) -> None:
    assert not countdown.lenient(PROBLEM, play)


def test_a_slash_is_a_fraction_or_a_division() -> None:
    fractions = ["8 / 3 = 8/3 | 8 3 8/3 > 24\n", "3 - 8/3 = 1/3 | 8 1/3 > 24\n", "8 / 1/3 = 24"]
    assert countdown.lenient(EIGHTS, fractions)
    assert countdown.lenient(EIGHTS, ["8/(3-8/3)=24"])
    assert reaches([Fraction(8), Fraction(4)], Fraction(2), ["8/4=2"])
    assert not reaches([Fraction(8), Fraction(4)], Fraction(3), ["8/4=3"])


def test_lines_are_told_apart_from_words() -> None:
    assert parts("13 - 9 = 4 | 10 4 4 > 24") == ("13 - 9", Fraction(4))
    assert parts("So we are done") == ("", None)
    assert parts("13 - 9 = four") == ("13 - 9", None)
    assert parts("1 + " * LONGEST + "1 = 4") == ("", None)


@given(st.lists(st.integers(1, 12), min_size=2, max_size=4), st.randoms())
def test_what_the_grader_takes_the_lenient_one_takes_too(
    numbers: list[int], rng: random.Random
) -> None:
    state = countdown.ordered([Fraction(n) for n in numbers])
    lines = []
    while len(state) > 1:
        moves = list(countdown.moves(state))
        if not moves:  # all values are out of bounds
            return
        operator, left, right, rest = rng.choice(moves)
        lines.append(countdown.line(operator, left, right, rest, 24) + "\n")
        state = rest
    if state[0].denominator > 1:
        return
    end = int(state[0])
    problem = countdown.make_problem(numbers, end)
    lines = [line.replace("> 24", f"> {end}") for line in lines]
    assert countdown.grade(problem, lines).outcome is Outcome.CORRECT
    assert countdown.lenient(problem, lines)
    if not any("/" in line for line in lines):  # without spaces those are ambiguous
        bare = [line.replace(" ", "").partition("|")[0] for line in lines]
        assert countdown.lenient(problem, bare)
