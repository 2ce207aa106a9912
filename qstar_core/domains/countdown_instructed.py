"""Countdown plays that follow an instruction: which operation comes first, and how many lines.

These are plays of the countdown in which not all numbers must be used (``domain.ranges.use_all:
false``). The instruction is a line of its own after the question, its two parts in either order::

    13 10 9 4 > 24            the question
    - 3                       the instruction: begin with a difference, three lines
    13 - 9 = 4 | 10 4 4 > 24  the play
    ...

1. A play is random moves, as in `countdown_plays`, and its instruction is read off it. So every
   play obeys. A *solved* play takes the value it ends in as its target; a *missed* one has a random
   target. Where no play of the instructed form reaches the target, misses are all there is to be
   learnt for it: a policy that obeys, right only where the instruction suits the question.
2. The instruction of a solved play is to be predicted as well. It is one that suits the question,
   so the state after the question comes to hold which ones do. Those of misses are masked.
3. The number of lines is given; within a batch it is the same. Plays with a line whose result is
   not used are left out, as the grader counts them wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qstar_core.domains import countdown
from qstar_core.domains.countdown_plays import (
    ID,
    TOKEN,
    Bool,
    Int,
    Mixture,
    held_out,
    miss_rate,
    random_move,
)
from qstar_core.mdp import Problem

INSTRUCTION = 3  # tokens: the operation, the number of lines, the newline


@dataclass(frozen=True, slots=True)
class Plays:
    """Plays of one length.

    Attributes:
        ids: [plays, length]: BOS, question, newline, instruction, newline, lines, EOS.
        solved: [plays], which of them reach the target.
        question: tokens before the instruction.
    """

    ids: Int
    solved: Bool
    question: int

    def labels(self) -> Int:
        """What is to be predicted, [plays, length - question]; -100 where nothing is."""
        found = self.ids[:, self.question :].copy()
        found[~self.solved, :INSTRUCTION] = -100
        return found


def draw(count: int, n: int, lines: int, mixture: Mixture, rng: np.random.Generator) -> Plays:
    """About ``count`` plays, test problems left out.

    Args:
        count: plays drawn; illegal, out-of-range and held-out ones are dropped from them.
        n: numbers per problem.
        lines: of each play, from 1 to n - 1.
        mixture: ranges and the share of misses.
        rng: the stream of randomness.
    """
    start = np.sort(rng.integers(1, mixture.max_number + 1, (count, n)), axis=1)[:, ::-1]
    p, q = start.copy(), np.ones_like(start)
    ok = np.ones(count, dtype=bool)
    written: list[tuple[Int, Int]] = []
    for _ in range(lines):
        p, q, text, legal = random_move(p, q, rng, mixture.fraction_weight)
        ok &= legal
        written.append((text, ID[p, q]))
    ok &= _useful(ID[start, 1], ID[p, q], written[-1][0][:, -1])
    end = written[-1][0][:, -1] - ID[0, 1]  # integers have the first token ids after the specials
    solved = (end >= mixture.min_target) & (end <= mixture.max_target)
    miss = rng.random(count) < miss_rate(mixture, float(solved[ok].mean()))
    other = rng.integers(mixture.min_target, mixture.max_target + 1, count)
    target = np.where(miss, other, np.where(solved, end, mixture.min_target))
    ok &= miss | solved
    ok[ok] = ~held_out(start[ok], target[ok], mixture)
    goal = np.stack([np.full(count, TOKEN[">"]), ID[target, 1]], 1)
    column = {word: np.full((count, 1), token) for word, token in TOKEN.items()}
    parts = [column["<s>"], ID[start, 1], goal, column["\n"]]
    parts += [_instruction(written[0][0][:, 1], lines, rng), column["\n"]]
    for k, (text, rest) in enumerate(written):
        parts += [*([column["\n"]] if k else []), text, column["|"], rest, goal]
    ids = np.concatenate([*parts, column["</s>"]], 1)
    return Plays(ids[ok], ~miss[ok], n + 4)


def suiting(problem: Problem) -> list[tuple[str, int]]:
    """The instructions that some right play of a problem follows: first operation and lines.

    Args:
        problem: of the countdown in which not all numbers must be used.

    Returns:
        Fewest lines first, then in the order of `countdown.OPERATORS`.
    """
    given, target = countdown.start(problem)
    found = set()
    for operator, left, right, rest in countdown.moves(given):
        value = countdown.apply(operator, left, right)
        if value is not None and countdown.may_end(rest, value, given, target):
            found.add((1, operator))
        further = range(1, len(rest))
        found |= {
            (k + 1, operator) for k in further if countdown.ends_after(rest, given, target, k)
        }
    place = countdown.OPERATORS.index
    in_order = sorted(found, key=lambda each: (each[0], place(each[1])))
    return [(operator, lines) for lines, operator in in_order]


def instructed(problem: Problem, operator: str, lines: int) -> str:
    """The prompt of a problem with an instruction."""
    return f"{problem.prompt}{operator} {lines}\n"


def _useful(given: Int, rest: Int, result: Int) -> Bool:
    """Which plays use every line: what is left beside the result are numbers that were given.

    Args:
        given, rest: tokens of the numbers at the beginning and at the end, [plays, n] and less.
        result: token of the last line's result, [plays].
    """
    useful = np.ones(len(given), dtype=bool)
    for k in range(rest.shape[1]):
        value = rest[:, k]
        left = (rest == value[:, None]).sum(1) - (value == result)
        useful &= left <= (given == value[:, None]).sum(1)
    return useful


def _instruction(operators: Int, lines: int, rng: np.random.Generator) -> Int:
    """Operation and number of lines in a random order, [plays, 2]."""
    both = np.stack([operators, np.full_like(operators, ID[lines, 1])], 1)
    swap = rng.random(len(both)) < 0.5
    return np.where(swap[:, None], both[:, ::-1], both)
