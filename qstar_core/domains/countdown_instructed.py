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
3. Beside plays there are questions alone (`suited`), with all instructions that suit. What follows
   a question is exact there, where plays have one sample of it, and a question has a third of the
   tokens of a play.
4. The number of lines is given; within a batch it is the same. Plays with a line whose result is
   not used are left out, as the grader counts them wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

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
    vocabulary,
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


@dataclass(frozen=True, slots=True)
class Suited:
    """All questions of some ranges that can be solved, test problems left out.

    Attributes:
        ids: [questions, length]: BOS, question, newline.
        next_word: [questions, words], float32: the probability of each as the first word of an
            instruction that suits, all of these alike, in either order.
        fewest: [questions], lines needed at least.
    """

    ids: Int
    next_word: npt.NDArray[np.float32]
    fewest: Int

    def draw(self, count: int, rng: np.random.Generator) -> Int:
        """Places of some questions; each number of lines needed is as frequent as any other."""
        kinds, sizes = np.unique(self.fewest, return_counts=True)
        kind = rng.integers(0, len(kinds), count)
        within = (rng.random(count) * sizes[kind]).astype(np.int64)
        begin = np.cumsum(sizes) - sizes
        order: Int = np.argsort(self.fewest, kind="stable")[begin[kind] + within]
        return order


def suited(n: int, mixture: Mixture) -> Suited:
    """The questions of n numbers, in order; takes seconds for 3 numbers, minutes for more."""
    rows, following, fewest = [], [], []
    for numbers in combinations_with_replacement(range(mixture.max_number, 0, -1), n):
        given = countdown.ordered([countdown.Fraction(number) for number in numbers])
        for target, found in sorted(_endings(given, given, None, 1).items()):
            if not mixture.min_target <= target <= mixture.max_target:
                continue
            if held_out(np.array([numbers]), np.array([target]), mixture)[0]:
                continue
            rows.append([TOKEN["<s>"], *ID[list(numbers), 1], TOKEN[">"], ID[target, 1]])
            following.append(found)
            fewest.append(min(lines for _, lines in found))
    next_word = np.zeros((len(rows), len(vocabulary())), dtype=np.float32)
    for row, found in enumerate(following):
        for operator, lines in found:
            next_word[row, [TOKEN[operator], ID[lines, 1]]] += 0.5 / len(found)
    ids = np.array([[*row, TOKEN["\n"]] for row in rows], dtype=np.int64)
    return Suited(ids, next_word, np.array(fewest, dtype=np.int64))


def _endings(
    numbers: countdown.Numbers, given: countdown.Numbers, first: str | None, lines: int
) -> dict[int, set[tuple[str, int]]]:
    """For each integer that a right play can end in, first operation and lines of such plays."""
    found: dict[int, set[tuple[str, int]]] = {}
    for operator, left, right, rest in countdown.moves(numbers):
        value, begun = countdown.apply(operator, left, right), first or operator
        if value is None:
            continue
        if value.denominator == 1 and countdown.may_end(rest, value, given, int(value)):
            found.setdefault(int(value), set()).add((begun, lines))
        if len(rest) > 1:
            for target, further in _endings(rest, given, begun, lines + 1).items():
                found.setdefault(target, set()).update(further)
    return found


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
