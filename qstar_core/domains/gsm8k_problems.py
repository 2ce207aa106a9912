"""The problems of GSM8K: read from files in the data set's own form, or imported with samples."""

from __future__ import annotations

from functools import partial

from qstar_core.domains import gsm8k, in_words
from qstar_core.domains.row_fields import as_object, text_of
from qstar_core.mdp import Problem

EXAMPLE = '{"question": "Tom has 3 apples and buys 4. How many?", "answer": "3+4 = 7\\n#### 7"}'
GENERATED = {"train": 0, "test": 0}  # there are none but those of the files
MAX_MALFORMED = 0.01  # share of a file's rows that may be left out
expected_tokens, left_tokens = (
    in_words.expected_tokens,
    partial(in_words.left_tokens, gsm8k.MAX_STEPS),
)
without_reference = gsm8k.without_reference  # for annotations alone


def from_row(row: object, split: str) -> Problem:
    """The problem of a row with ``question`` and ``answer``; other fields are left alone.

    Raises:
        TypeError, KeyError, ValueError: the row is malformed.
    """
    given = as_object(row)
    question, answer = text_of(given, "question"), text_of(given, "answer")
    if gsm8k.MARK not in answer:
        raise ValueError(f"the answer has no {gsm8k.MARK} with its number")
    return gsm8k.make_problem(question, answer, split)


def from_question(question: str, reference: object, split: str | None) -> Problem:
    """The problem of an imported row; without a split it is a training problem.

    Raises:
        ValueError: the reference is no number.
    """
    return gsm8k.make_problem(question, reference, split or "train")
