from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest

from qstar_core.domains import (
    countdown,
    countdown_instructed,
    countdown_plays,
    countdown_problems,
)
from qstar_core.grading import Outcome

WORDS = countdown_plays.vocabulary()
MIXTURE = countdown_plays.Mixture(13, 1, 50, 0.4)


def texts(plays: countdown_instructed.Plays) -> list[list[str]]:
    """Lines of each play: the question, the instruction, and so on."""
    rows = ([WORDS[token] for token in row[1:-1]] for row in plays.ids)
    return [" ".join(words).replace(" \n ", "\n").split("\n") for words in rows]


@pytest.mark.parametrize(("n", "lines"), [(4, 1), (4, 2), (4, 3), (3, 2)])
def test_every_play_obeys_and_its_kind_is_known(n: int, lines: int) -> None:
    plays = countdown_instructed.draw(3000, n, lines, MIXTURE, np.random.default_rng(0))
    assert len(plays.ids) > 50 and {True, False} == set(plays.solved.tolist())
    orders = set()
    for (question, instruction, *written), solved in zip(texts(plays), plays.solved, strict=True):
        left, target = question.split(" > ")
        numbers = [int(number) for number in left.split()]
        problem = countdown.make_problem(numbers, int(target), use_all=False)
        assert problem.split == "train"
        assert countdown.rule_rewards(problem, written) == [1.0] * lines
        first = countdown.parse_line(written[0])
        assert first is not None and set(instruction.split()) == {first.operator, str(lines)}
        orders.add(instruction.split()[0].isdigit())
        outcome = countdown.grade(problem, written).outcome
        assert outcome is Outcome.CORRECT or not solved
    assert orders == {True, False}


def test_the_instructions_of_misses_are_not_to_be_predicted() -> None:
    plays = countdown_instructed.draw(2000, 4, 2, MIXTURE, np.random.default_rng(1))
    labels = plays.labels()
    assert labels.shape == (len(plays.ids), plays.ids.shape[1] - plays.question)
    masked = (labels == -100).any(axis=1)
    assert (masked == ~plays.solved).all()
    assert (labels[~plays.solved, :3] == -100).all() and (labels[:, 3:] >= 0).all()
    assert (labels[plays.solved] == plays.ids[plays.solved, plays.question :]).all()


def test_the_share_of_misses() -> None:
    plays = countdown_instructed.draw(20_000, 4, 1, MIXTURE, np.random.default_rng(2))
    assert plays.solved.mean() == pytest.approx(0.6, abs=0.03)


def test_the_instructions_that_suit_are_those_of_right_plays() -> None:
    problem = countdown.make_problem([13, 10, 9, 4], 40, use_all=False)
    suiting = countdown_instructed.suiting(problem)
    assert suiting[0] == ("*", 1) and ("-", 2) in suiting  # 10 * 4; 13 - 9, then * 10
    assert ("+", 1) not in suiting and [lines for _, lines in suiting] == sorted(
        lines for _, lines in suiting
    )
    assert countdown_instructed.instructed(problem, "*", 1) == "13 10 9 4 > 40\n* 1\n"


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_the_instruction_of_a_solved_play_suits_its_problem(lines: int) -> None:
    plays = countdown_instructed.draw(800, 4, lines, MIXTURE, np.random.default_rng(4))
    solved = [text for text, right in zip(texts(plays), plays.solved, strict=True) if right]
    for question, instruction, *_ in solved[:12]:
        left, target = question.split(" > ")
        numbers = [int(number) for number in left.split()]
        problem = countdown.make_problem(numbers, int(target), use_all=False)
        operator = next(word for word in instruction.split() if not word.isdigit())
        assert (operator, lines) in countdown_instructed.suiting(problem)


def test_the_questions_that_can_be_solved_have_what_suits() -> None:
    mixture = countdown_plays.Mixture(6, 1, 20, left_out=frozenset({((5, 4, 2), 10)}))
    found = countdown_instructed.suited(3, mixture)
    asked = set()
    for ids, likely, fewest in zip(found.ids, found.next_word, found.fewest, strict=True):
        words = [WORDS[token] for token in ids]
        assert (words[0], words[4], words[-1]) == ("<s>", ">", "\n")
        problem = countdown.make_problem(list(map(int, words[1:4])), int(words[5]), use_all=False)
        assert problem.split == "train"
        asked.add(problem.prompt)
        suiting = countdown_instructed.suiting(problem)
        assert fewest == suiting[0][1] and likely.sum() == pytest.approx(1.0)
        for word in (*countdown.OPERATORS, "1", "2"):
            share = sum(word in (operator, str(lines)) for operator, lines in suiting)
            assert likely[WORDS.index(word)] == pytest.approx(share / len(suiting) / 2)
    assert "5 4 2 > 11\n" in asked and "5 4 2 > 10\n" not in asked
    everything = (
        countdown.make_problem(numbers, target, use_all=False)
        for numbers in combinations_with_replacement(range(1, 7), 3)
        for target in range(1, 21)
    )
    solvable = {
        p.prompt
        for p in everything
        if p.split == "train" and countdown_problems.unsolvable([p]) == 0
    }
    assert asked == solvable - {"5 4 2 > 10\n"}


def test_questions_of_one_line_are_drawn_as_often_as_those_of_two() -> None:
    found = countdown_instructed.suited(3, countdown_plays.Mixture(6, 1, 20))
    places = found.draw(4000, np.random.default_rng(0))
    assert (found.fewest[places] == 1).mean() == pytest.approx(0.5, abs=0.03)
    assert len(set(places.tolist())) > 0.9 * len(found.ids)
