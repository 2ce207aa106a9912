"""Countdown in which not all numbers must be used."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.config import CountdownRanges
from qstar_core.domains import countdown, countdown_problems
from qstar_core.domains.countdown import Numbers
from qstar_core.grading import Outcome
from qstar_core.mdp import Problem, Step

PROBLEM = countdown.make_problem([13, 10, 9, 4], 40, use_all=False)
ONE = ["10 * 4 = 40 | 40 13 9 > 40"]
TWO = ["13 - 9 = 4 | 10 4 4 > 40\n", "10 * 4 = 40 | 40 4 > 40"]
USELESS = ["13 + 9 = 22 | 22 10 4 > 40\n", "10 * 4 = 40 | 40 22 > 40"]
SMALL = st.tuples(st.lists(st.integers(1, 9), min_size=2, max_size=3), st.integers(1, 30))


def plays(numbers: Numbers, target: int) -> list[tuple[list[str], Numbers]]:
    """Every legal play of one line or more, and what remains after it."""
    found = []
    for operator, left, right, rest in countdown.moves(numbers):
        text = countdown.line(operator, left, right, rest, target)
        found.append(([text], rest))
        found += [([text, *lines], after) for lines, after in plays(rest, target)]
    return found


def right(problem: Problem, lines: list[str]) -> bool:
    return countdown.grade(problem, lines).outcome is Outcome.CORRECT


def test_a_play_may_leave_given_numbers_but_no_result() -> None:
    assert right(PROBLEM, ONE) and right(PROBLEM, TWO)
    wasted = countdown.grade(PROBLEM, USELESS)
    assert wasted.outcome is Outcome.WRONG and "not used" in wasted.reason
    missed = countdown.grade(PROBLEM, TWO[:1])
    assert missed.outcome is Outcome.WRONG and missed.answer == "4"
    assert countdown.grade(PROBLEM, []).outcome is Outcome.NO_ANSWER
    assert countdown.grade(PROBLEM, ["10 * 4 = 40 | 40 9 > 40"]).outcome is Outcome.WRONG
    strict = countdown.make_problem([13, 10, 9, 4], 40)
    assert countdown.grade(strict, ONE).outcome is Outcome.NO_ANSWER
    assert strict.id != PROBLEM.id and strict.prompt == PROBLEM.prompt


def test_the_policy_ends_a_play() -> None:
    assert countdown.is_terminal(PROBLEM, [Step(ONE[0], ended=True)])
    assert not countdown.is_terminal(PROBLEM, [Step(ONE[0])])
    assert countdown.canonical(PROBLEM, ONE) == "40 13 9 = 40"
    assert countdown.canonical(PROBLEM, []) == "13 10 9 4"


@given(SMALL)
def test_grader_and_truth_agree_with_all_plays(drawn: tuple[list[int], int]) -> None:
    numbers, target = drawn
    problem = countdown.make_problem(numbers, target, use_all=False)
    start = countdown.start(problem)[0]
    all_plays = plays(start, target)
    solving = [lines for lines, _ in all_plays if right(problem, lines)]
    fewest = min(map(len, solving), default=None)
    assert countdown.fewest_lines(start, start, target) == fewest
    for lines, rest in all_plays:
        used = Counter(start) - Counter(rest)
        if right(problem, lines):
            assert countdown.lenient(problem, lines)
            # every line merges two numbers, and all results but the last are used up
            assert sum(used.values()) <= len(lines) + 1
    for lines, _ in islice(all_plays, 40):
        left = [len(s) - len(lines) for s in solving if s[: len(lines)] == lines]
        truth = 0.5 ** min(left) if left else 0.0
        assert countdown.q_star(problem, lines, 0.5)[-1] == truth


def test_as_many_problems_need_one_line_as_two_and_three() -> None:
    ranges = CountdownRanges(numbers=(4,), max_target=50, use_all=False)
    problems = countdown_problems.generate("test", 30, ranges, seed=3)
    fewest = []
    for problem in problems:
        numbers, target = countdown.start(problem)
        assert problem.split == "test" and not countdown.uses_all(problem)
        fewest.append(countdown.fewest_lines(numbers, numbers, target))
    assert Counter(fewest) == {1: 10, 2: 10, 3: 10}
    assert countdown_problems.unsolvable(problems) == 0
    assert countdown_problems.unsolvable([countdown.make_problem([2, 2], 9, False)]) == 1


def test_a_row_says_so() -> None:
    row = {"numbers": [13, 10, 9, 4], "target": 40, "use_all": False}
    assert countdown_problems.from_row(row) == PROBLEM
    assert countdown_problems.from_question(PROBLEM.prompt, PROBLEM.reference, None) == PROBLEM
    with pytest.raises(TypeError, match="use_all"):
        countdown_problems.from_row({**row, "use_all": "no"})


def test_the_least_number_of_solutions_is_of_plays_of_all_numbers() -> None:
    with pytest.raises(ValueError, match="use_all"):
        CountdownRanges(min_solutions=2, use_all=False)


def test_a_number_that_was_given_may_be_left_whatever_made_it() -> None:
    given = (Fraction(4), Fraction(4), Fraction(2))
    assert countdown.may_end((Fraction(8), Fraction(4)), Fraction(8), given, 8)
    assert not countdown.may_end((Fraction(8), Fraction(6)), Fraction(8), given, 8)
