"""The problems of multiple-choice data sets, whichever of their forms the rows have.

* MMLU, ARC and the like: ``question``, ``choices`` (a list, or ``text`` and ``label`` lists) and
  ``answer`` or ``answerKey`` (a place from 0, a label, or the text);
* LogiQA: ``context``, ``query``, ``options`` and ``correct_option`` (a place from 0);
* TruthfulQA: the columns of its CSV file, or ``question`` and ``mc1_targets``. The false answers
  are the other options; all stand in an order that their hashes decide;
* AdaReasoner: ``question`` with the options in its text, and ``answer``, the text of one.
"""

from __future__ import annotations

import hashlib
import re
from functools import partial
from itertools import pairwise
from typing import Any

from qstar_core.domains import choice, in_words
from qstar_core.domains.row_fields import as_object, as_text, text_of
from qstar_core.mdp import Problem

EXAMPLE = '{"question": "Which is prime?", "choices": ["21", "23"], "answer": 1}'
GENERATED = {"train": 0, "test": 0}  # there are none but those of the files
MAX_MALFORMED = 0.01  # share of a file's rows that may be left out
expected_tokens, left_tokens = (
    in_words.expected_tokens,
    partial(in_words.left_tokens, choice.MAX_STEPS),
)

LETTERED = re.compile(r"\bOptions:\s*(?=A: )")
METAPHOR = re.compile(r"\bmetaphor\b.*\bsuitable\b", re.DOTALL)


def from_row(row: object, split: str) -> Problem:
    """The problem of a row in one of the forms above; other fields are left alone.

    Raises:
        TypeError, KeyError, ValueError: the row is malformed.
    """
    row = as_object(row)
    if "Best Answer" in row or "mc1_targets" in row:
        return _truthful(row, split)
    if "query" in row:
        return _logical(row, split)
    question = text_of(row, "question")
    listed = next((row[name] for name in ("choices", "options") if name in row), None)
    right = row.get("answer", row.get("answerKey"))
    if right is None:
        raise KeyError("field 'answer' is missing")
    if listed is None:
        return choice.as_asked(question, inline_options(question), as_text(right, "answer"), split)
    options = _labelled(listed)
    return choice.make_problem(question, options, _right(options, right), split)


def from_question(question: str, reference: object, split: str | None) -> Problem:
    """The problem of an imported row.

    Args:
        question: with its options, or without.
        reference: the text of the right option; ``{"options": [...], "answer": ...}`` where the
            question does not have them.
        split: None is ``"train"``.

    Raises:
        TypeError, KeyError, ValueError: the reference is malformed.
    """
    given = reference if isinstance(reference, dict) else {"answer": reference}
    return from_row({"question": question, **given}, split or "train")


def inline_options(question: str) -> dict[str, str]:
    """The options that stand in a question, by label.

    Raises:
        ValueError: there are none.
    """
    lettered = list(LETTERED.finditer(question))
    if lettered:
        return _cut(question[lettered[-1].end() :], [f"{letter}: " for letter in choice.LABELS])
    start = question.rfind(" 1) ")
    if start >= 0:
        return _cut(question[start + 1 :], [f"{number}) " for number in range(1, 21)])
    if METAPHOR.search(question):
        return {"A": "yes", "B": "no"}
    raise ValueError("no options in the question, and none beside it")


def _cut(text: str, marks: list[str]) -> dict[str, str]:
    """What stands behind each mark, in their order, up to the next one."""
    found, rest = {}, text[len(marks[0]) :]
    for mark, following in pairwise(marks):
        option, there, rest = rest.partition(f" {following}")
        found[mark.rstrip(":) ")] = option.strip()
        if not there:
            break
    return found


def _truthful(row: dict[str, Any], split: str) -> Problem:
    if "mc1_targets" in row:
        question, targets = text_of(row, "question"), row["mc1_targets"]
        texts = [as_text(text, "a choice") for text in targets["choices"]]
        best = texts[list(targets["labels"]).index(1)]
    else:
        question, best = text_of(row, "Question"), text_of(row, "Best Answer")
        false = [part.strip() for part in text_of(row, "Incorrect Answers").split(";")]
        texts = [best, *(part for part in false if part)]
    texts = list(dict.fromkeys(text.strip() for text in texts))
    texts.sort(key=lambda text: hashlib.sha256(f"{question}\n{text}".encode()).hexdigest())
    return choice.make_problem(question, _labelled(texts), best, split)


def _logical(row: dict[str, Any], split: str) -> Problem:
    question = f"{row.get('context') or ''}\n{text_of(row, 'query')}".strip()
    options = _labelled(row.get("options"))
    right = row.get("correct_option", row.get("answer"))
    return choice.make_problem(question, options, _right(options, right), split)


def _labelled(listed: object) -> dict[str, str]:
    if isinstance(listed, dict) and {"text", "label"} <= set(listed):
        labels, texts = list(listed["label"]), list(listed["text"])
    elif isinstance(listed, list):
        labels, texts = list(choice.LABELS[: len(listed)]), listed
    else:
        raise TypeError(f"choices must be a list of texts, got {listed!r:.80}")
    if len(labels) != len(texts) or len(set(labels)) != len(texts):
        raise ValueError(f"{len(texts)} choices need as many different labels")
    return {
        as_text(label, "a label"): as_text(text, "a choice")
        for label, text in zip(labels, texts, strict=True)
    }


def _right(options: dict[str, str], right: object) -> str:
    """The text of the right option, given by its place, its label or itself."""
    if isinstance(right, int) and not isinstance(right, bool):
        if not 0 <= right < len(options):
            raise ValueError(f"answer must be a place from 0 to {len(options) - 1}, got {right}")
        return list(options.values())[right]
    text = as_text(right, "answer")
    return options.get(text.strip(), text)
