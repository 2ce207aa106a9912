"""The problems of MBPP: read from files in the data set's own form, or imported with samples."""

from __future__ import annotations

from typing import Any

from qstar_core.config import DomainConfig
from qstar_core.domains import mbpp
from qstar_core.domains.row_fields import as_object, as_text, text_of
from qstar_core.grading.code import Suite
from qstar_core.grading.separate import defined
from qstar_core.mdp import Problem

EXAMPLE = (
    '{"text": "Write a function to add one to a number.", "test_list": ["assert add_one(2) == 3"]}'
)
GENERATED = {"train": 0, "test": 0}  # there are none but those of the files
MAX_MALFORMED = 0.01  # share of a file's rows that may be left out
OPTIONS = ("shown_tests",)  # fields of the domain that `from_row` takes
SHOWN: dict[str, int | None] = {"first": 1, "all": None, "none": 0}
SPLITS = {"test": range(11, 511), "train": range(601, 975)}
"""By task_id, as the data set's authors say; 1 to 10 are for prompts, 511 to 600 for validation."""


def from_row(row: object, split: str, shown_tests: str = "first") -> Problem | None:
    """The problem of a row of MBPP, full or sanitized.

    Args:
        row: with ``text`` or ``prompt``, ``test_list``, and if there are any ``test_setup_code``,
            ``test_imports``, ``code`` (a right program) and ``task_id``; others are left alone.
        split: that the file is read for.
        shown_tests: a key of `SHOWN`.

    Returns:
        None for a task that its ``task_id`` puts into another split; one without is always taken.

    Raises:
        TypeError, KeyError, ValueError: the row is malformed.
    """
    row = as_object(row)
    task = row.get("task_id")
    if task is not None and (isinstance(task, bool) or not isinstance(task, int)):
        raise TypeError(f"task_id must be a whole number, got {task!r:.80}")
    if task is not None and task not in SPLITS[split]:
        return None
    text = text_of(row, "text", "prompt").replace("\r\n", "\n")
    return mbpp.make_problem(text, _tests(row), split, SHOWN[shown_tests])


def _tests(row: dict[str, Any]) -> Suite:
    if row.get("test_list") is None:
        raise KeyError("field 'test_list' is missing")
    return Suite(
        _texts(row, "test_list"),
        "\n".join(_texts(row, "test_imports")),
        _text(row, "test_setup_code"),
        _shadowing(_text(row, "code")),
    )


def _shadowing(program: str) -> tuple[str, ...]:
    """The builtins that a right program defines anew, such as ``sum``."""
    import builtins

    return tuple(sorted({name for name in defined(program) if hasattr(builtins, name)}))


def _text(row: dict[str, Any], field: str) -> str:
    """A field that need not be there."""
    value = row.get(field)
    return as_text("" if value is None else value, field).replace("\r\n", "\n")


def _texts(row: dict[str, Any], field: str) -> tuple[str, ...]:
    found = row.get(field)
    found = [] if found is None else found
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise TypeError(f"{field} must be a list of texts, got {found!r:.80}")
    return tuple(text.replace("\r\n", "\n").strip() for text in found)


def from_question(question: str, reference: object, split: str | None) -> Problem:
    """The problem of an imported row, whose reference has the fields of a row but the text.

    Raises:
        TypeError, KeyError, ValueError: the reference is malformed.
    """
    if isinstance(reference, list):
        reference = {"test_list": reference}
    if not isinstance(reference, dict):
        raise TypeError(
            f"the reference must have test_list, a list of texts, got {reference!r:.80}"
        )
    return mbpp.make_problem(question, _tests(reference), split or "train")


def expected_tokens(domain: DomainConfig, max_new_tokens: int) -> int:
    """Policy tokens of a rollout: the limit, since nothing better is known of any policy."""
    return min(max_new_tokens, mbpp.MAX_STEPS * mbpp.STEP_TOKENS)


def left_tokens(domain: DomainConfig, max_new_tokens: int) -> tuple[int, list[int]]:
    """Policy tokens of a step, and of what is left of a solution after each step but the last."""
    most = expected_tokens(domain, max_new_tokens)
    left = [most - t * mbpp.STEP_TOKENS for t in range(1, mbpp.MAX_STEPS)]
    return mbpp.STEP_TOKENS, [max(0, tokens) for tokens in left]
