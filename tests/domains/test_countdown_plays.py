from __future__ import annotations

import numpy as np
import pytest

from qstar_core.domains import countdown
from qstar_core.domains import countdown_plays as plays
from qstar_core.grading import Outcome

WORDS = plays.vocabulary()


def read(row: np.ndarray) -> tuple[list[int], int, list[str]]:
    """Numbers, target and lines of a play."""
    text = " ".join(WORDS[token] for token in row[1:-1]).replace(" \n ", "\n")
    prompt, *lines = text.split("\n")
    left, right = prompt.split(" > ")
    return [int(n) for n in left.split()], int(right), lines


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_every_line_of_every_play_is_legal(n: int) -> None:
    rows = plays.draw(400, n, plays.Mixture(), np.random.default_rng(0))
    assert len(rows) > 20
    for row in rows:
        numbers, target, lines = read(row)
        problem = countdown.make_problem(numbers, target)
        assert countdown.rule_rewards(problem, lines) == [1.0] * (n - 1)
        assert len(row) == n + 4 + sum(9 + left for left in range(1, n))


def test_held_out_problems_are_left_out() -> None:
    rows = plays.draw(5000, 3, plays.Mixture(), np.random.default_rng(1))
    assert all(countdown.split_of(*read(row)[:2]) == "train" for row in rows)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_misses(share: float) -> None:
    rows = plays.draw(20_000, 4, plays.Mixture(miss_share=share), np.random.default_rng(2))
    outcomes = []
    for row in rows[:2000]:
        numbers, target, lines = read(row)
        outcomes.append(countdown.grade(countdown.make_problem(numbers, target), lines).outcome)
    missed = np.mean([outcome is Outcome.WRONG for outcome in outcomes])
    # a random other target is hit by chance now and then
    assert abs(missed - share) < 0.05


def test_rarity_evens_out_the_problems() -> None:
    mixture = plays.Mixture(miss_share=0.0)
    rng = np.random.default_rng(0)
    keep = plays.rarity(3, mixture, rng, 100_000, power=1.0)

    def concentration(rows: np.ndarray) -> float:
        counts = np.unique(rows[:, 1:7], axis=0, return_counts=True)[1]
        return float((counts / counts.sum()) @ counts)

    flat = plays.draw(60_000, 3, mixture, rng, keep)
    raw = plays.draw(60_000, 3, mixture, rng)[: len(flat)]
    assert concentration(flat) < 0.8 * concentration(raw)


def test_vocabulary_covers_all_representable_values() -> None:
    assert len(set(WORDS)) == len(WORDS)
    assert {"0", "200", "8/3", "24/5", "\n"} <= set(WORDS)
    assert "4/2" not in WORDS
