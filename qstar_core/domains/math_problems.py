r"""The problems of MATH: rows as in the data set, or imported with samples.

A row has ``problem`` (or ``question``) and ``solution`` with its ``\boxed{...}``, or an ``answer``.
Level and type are left alone: two rows of the data set have the level "?". Two training rows have
an empty box: they are malformed.
"""

from __future__ import annotations

from functools import partial

from qstar_core.domains import in_words, math
from qstar_core.domains.row_fields import as_object, text_of
from qstar_core.grading import math_answers
from qstar_core.mdp import Problem

EXAMPLE = '{"problem": "What is $3 + 4$?", "solution": "We have $3 + 4 = \\\\boxed{7}$."}'
GENERATED = {"train": 0, "test": 0}  # there are none but those of the files
MAX_MALFORMED = 0.01  # share of a file's rows that may be left out
expected_tokens, left_tokens = (
    in_words.expected_tokens,
    partial(in_words.left_tokens, math.MAX_STEPS),
)
without_reference = math.without_reference  # for annotations alone


def from_row(row: object, split: str) -> Problem:
    """The problem of a row; fields that are not needed are left alone.

    Raises:
        TypeError, KeyError, ValueError: the row is malformed.
    """
    given = as_object(row)
    question, right = text_of(given, "problem", "question"), text_of(given, "answer", "solution")
    if given.get("answer") is None and math_answers.BOX.search(right) is None:
        raise ValueError("the solution has no \\boxed{...}")
    return math.make_problem(question, right, split)


def from_question(question: str, reference: object, split: str | None) -> Problem:
    """The problem of an imported row; without a split it is a training problem.

    Raises:
        ValueError: the reference is no text, or empty.
    """
    return math.make_problem(question, reference, split or "train")
