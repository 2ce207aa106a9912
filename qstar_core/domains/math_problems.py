r"""The problems of MATH: rows as in the data set, or imported with samples.

A row has ``problem`` (or ``question``) and ``solution`` with its ``\boxed{...}``, or an ``answer``.
Level and type are left alone: two rows of the data set have the level "?". Two training rows have
an empty box: they are malformed.
"""

from __future__ import annotations

from qstar_core.config import DomainConfig
from qstar_core.domains import math
from qstar_core.mdp import Problem

EXAMPLE = '{"problem": "What is $3 + 4$?", "solution": "We have $3 + 4 = \\\\boxed{7}$."}'
GENERATED = {"train": 0, "test": 0}  # there are none but those of the files
MAX_MALFORMED = 0.01  # share of a file's rows that may be left out


def from_row(row: object, split: str) -> Problem:
    """The problem of a row; fields that are not needed are left alone.

    Raises:
        TypeError, KeyError, ValueError: the row is malformed.
    """
    if not isinstance(row, dict):
        raise TypeError("not a JSON object")
    asked = next((name for name in ("problem", "question") if name in row), None)
    if asked is None:
        raise KeyError("field 'problem' is missing")
    right = next((name for name in ("answer", "solution") if row.get(name) is not None), None)
    if right is None:
        raise KeyError("field 'solution' is missing")
    for field in (asked, right):
        if not isinstance(row[field], str):
            raise TypeError(f"{field} must be a text, got {row[field]!r:.80}")
    if right == "solution" and "\\boxed" not in row[right] and "\\fbox" not in row[right]:
        raise ValueError("the solution has no \\boxed{...}")
    return math.make_problem(row[asked], row[right], split)


def from_question(question: str, reference: object, split: str | None) -> Problem:
    """The problem of an imported row; without a split it is a training problem.

    Raises:
        ValueError: the reference is no text, or empty.
    """
    return math.make_problem(question, reference, split or "train")


def without_reference(question: str) -> Problem:
    """The training problem of a question whose answer is not known, for annotations alone.

    Raises:
        ValueError: the question is empty.
    """
    return math.without_reference(question)


def expected_tokens(domain: DomainConfig, max_new_tokens: int) -> int:
    """Policy tokens of a rollout: the limit, since nothing better is known of any policy."""
    return max_new_tokens


def left_tokens(domain: DomainConfig, max_new_tokens: int) -> tuple[int, list[int]]:
    """Policy tokens of a line, and of what is left of a solution after each line but the last.

    Any of them may take all that there are.
    """
    return max_new_tokens, [max_new_tokens] * (math.MAX_STEPS - 1)
