from __future__ import annotations

import json
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.domains import countdown
from qstar_core.grading import Outcome
from qstar_core.mdp import Step

SOLVED = ["13 - 9 = 4 | 10 4 4 > 24\n", "10 - 4 = 6 | 6 4 > 24\n", "6 * 4 = 24 | 24 > 24"]
PROBLEM = countdown.make_problem([4, 9, 10, 13], 24)


def solvable_slowly(numbers: list[Fraction], target: int) -> bool:
    """Tries every order of every operation, negative and huge values too."""
    if len(numbers) == 1:
        return numbers[0] == target
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            if i != j:
                rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
                values = [a + b, a - b, a * b] + ([a / b] if b else [])
                if any(solvable_slowly([*rest, v], target) for v in values):
                    return True
    return False


def test_prompt_is_the_first_state() -> None:
    assert PROBLEM.prompt == "13 10 9 4 > 24\n"
    assert json.loads(PROBLEM.reference) == {"numbers": [4, 9, 10, 13], "target": 24}


def test_a_solution_is_correct_and_every_line_legal() -> None:
    grade = countdown.grade(PROBLEM, SOLVED)
    assert (grade.outcome, grade.answer, grade.reward) == (Outcome.CORRECT, "24", 1.0)
    assert countdown.rule_rewards(PROBLEM, SOLVED) == [1.0, 1.0, 1.0]
    assert countdown.q_star(PROBLEM, SOLVED, gamma=0.5) == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    "line",
    [
        "13 - 9 = 5 | 10 5 4 > 24\n",  # false arithmetic
        "13 - 8 = 5 | 10 9 5 4 > 24\n",  # 8 is not there
        "13 - 9 = 4 | 10 4 > 24\n",  # a number is missing
        "13 - 9 = 4 | 10 4 4 > 25\n",  # another target
        "9 - 13 = -4 | 10 4 -4 > 24\n",  # negative
        "13 - 9 = 4\n",  # not repeated what remains
        "13 / 0 = 1 | 10 9 4 1 > 24\n",
        "1/0 + 9 = 4 | 10 4 4 > 24\n",
        "",
        "hello\n",
    ],
)
def test_illegal_lines(line: str) -> None:
    assert countdown.rule_rewards(PROBLEM, [line, *SOLVED[1:]]) == [0.0, 0.0, 0.0]
    assert countdown.grade(PROBLEM, [line, *SOLVED[1:]]).outcome is Outcome.WRONG
    assert countdown.q_star(PROBLEM, [line]) == [0.0]


def test_operands_of_a_sum_may_stand_in_any_order() -> None:
    assert countdown.rule_rewards(PROBLEM, ["4 + 13 = 17 | 17 10 9 > 24\n"]) == [1.0]


def test_unfinished_plays_have_no_answer() -> None:
    assert countdown.grade(PROBLEM, SOLVED[:2]).outcome is Outcome.NO_ANSWER
    assert countdown.grade(PROBLEM, []).outcome is Outcome.NO_ANSWER
    assert countdown.grade(PROBLEM, ["nonsense"]).outcome is Outcome.NO_ANSWER


def test_a_miss_is_wrong_and_says_why() -> None:
    grade = countdown.grade(PROBLEM, [*SOLVED[:2], "6 + 4 = 10 | 10 > 24"])
    assert grade.outcome is Outcome.WRONG
    assert grade.reason == "ends in 10, not 24"


def test_terminal_rule() -> None:
    steps = [Step(text) for text in SOLVED]
    assert not countdown.is_terminal(PROBLEM, [])
    assert not countdown.is_terminal(PROBLEM, steps[:2])
    assert countdown.is_terminal(PROBLEM, steps)
    assert countdown.is_terminal(PROBLEM, [Step(SOLVED[0], ended=True)])


def test_game_of_24_with_fractions() -> None:
    eights = countdown.ordered([Fraction(n) for n in (8, 8, 3, 3)])
    assert countdown.solvable(eights, 24)
    assert not countdown.solvable(countdown.ordered([Fraction(1)] * 4), 24)


@given(st.lists(st.integers(1, 13), min_size=2, max_size=3), st.integers(1, 60))
def test_solvable_agrees_with_brute_force(numbers: list[int], target: int) -> None:
    fractions = [Fraction(n) for n in numbers]
    fast = countdown.solvable(countdown.ordered(fractions), target)
    assert fast == solvable_slowly(fractions, target)
    assert fast == (countdown.count_solutions(countdown.ordered(fractions), target) > 0)


@given(st.lists(st.integers(1, 13), min_size=2, max_size=5), st.integers(10, 100), st.data())
def test_every_move_makes_a_legal_line(
    numbers: list[int], target: int, data: st.DataObject
) -> None:
    state = countdown.ordered([Fraction(n) for n in numbers])
    while moves := list(countdown.moves(state)):  # some states have none, such as 11 8/7
        operator, left, right, after = data.draw(st.sampled_from(moves))
        text = countdown.line(operator, left, right, after, target)
        assert countdown.follow(state, target, text) == after
        state = after


@given(
    numbers=st.lists(st.integers(1, 9), min_size=3, max_size=4),
    seed=st.integers(0, 999),
    spoilt=st.integers(0, 5),
)
def test_a_path_is_followed_as_its_lines_are(numbers: list[int], seed: int, spoilt: int) -> None:
    problem, rng = countdown.make_problem(numbers, 24), random.Random(seed)
    remaining, target = countdown.start(problem)
    lines: list[str] = []
    while len(remaining) > 1 and (options := list(countdown.moves(remaining))):
        operator, left, right, remaining = rng.choice(options)
        lines.append(countdown.line(operator, left, right, remaining, target) + "\n")
    if spoilt < len(lines):
        lines[spoilt] = lines[spoilt].replace("=", "= 9", 1)
    walked: list[countdown.Numbers | None] = []
    left_over: countdown.Numbers | None = countdown.start(problem)[0]
    for text in lines:
        left_over = countdown.follow(left_over, target, text) if left_over is not None else None
        walked.append(left_over)
    assert countdown.walk(problem, lines) == walked
    assert countdown.walk(problem, lines[:1]) == walked[:1]
