"""The problems of GSM8K: read from files in the data set's own form, or imported with samples."""

from __future__ import annotations

from qstar_core.config import DomainConfig
from qstar_core.domains import gsm8k
from qstar_core.mdp import Problem

EXAMPLE = '{"question": "Tom has 3 apples and buys 4. How many?", "answer": "3+4 = 7\\n#### 7"}'
GENERATED = {"train": 0, "test": 0}  # there are none but those of the files
MAX_MALFORMED = 0.01  # share of a file's rows that may be left out


def from_row(row: object, split: str) -> Problem:
    """The problem of a row with ``question`` and ``answer``; other fields are left alone.

    Raises:
        TypeError, KeyError, ValueError: the row is malformed.
    """
    if not isinstance(row, dict):
        raise TypeError("not a JSON object")
    for field in ("question", "answer"):
        if field not in row:
            raise KeyError(f"field {field!r} is missing")
        if not isinstance(row[field], str):
            raise TypeError(f"{field} must be a text, got {row[field]!r:.80}")
    if gsm8k.MARK not in row["answer"]:
        raise ValueError(f"the answer has no {gsm8k.MARK} with its number")
    return gsm8k.make_problem(row["question"], row["answer"], split)


def from_question(question: str, reference: object, split: str | None) -> Problem:
    """The problem of an imported row; without a split it is a training problem.

    Raises:
        ValueError: the reference is no number.
    """
    return gsm8k.make_problem(question, reference, split or "train")


def without_reference(question: str) -> Problem:
    """The training problem of a question whose answer is not known, for annotations alone.

    Raises:
        ValueError: the question is empty.
    """
    return gsm8k.without_reference(question)


def expected_tokens(domain: DomainConfig, max_new_tokens: int) -> int:
    """Policy tokens of a rollout: the limit, since nothing better is known of any policy."""
    return max_new_tokens


def left_tokens(domain: DomainConfig, max_new_tokens: int) -> tuple[int, list[int]]:
    """Policy tokens of a line, and of what is left of a solution after each line but the last.

    Any of them may take all that there are.
    """
    return max_new_tokens, [max_new_tokens] * (gsm8k.MAX_STEPS - 1)
