r"""Multiple choice: MMLU, TruthfulQA, LogiQA and the questions of AdaReasoner (arXiv 2505.17312).

The right answer is the *text* of an option. One line is one action; a solution may reason and then
says its choice behind a mark, by label or by text::

    Question: Which of these is a prime number?
    A. 21
    B. 23
    Answer:                                                       the prompt ends here
    21 is 3 times 7.
    The answer is B.

A mark is ``answer is``, ``answer:``, ``####`` or ``\boxed{``; the last one counts. What follows it
is read, in this order, as a lone letter that is a label, as the text of an option, as a label
(``(B)``, ``B. 23``, ``option B``), or as an option's text with more behind it. Texts are compared
without case, quotes, blanks and punctuation at their ends, so ``Yes, all humans are human.`` is one
answer however it is set. What is none of these is wrong, and the reason says so; what comes without
a mark is no answer, see `lenient`; nor is what is said of a next question (`own_part`). Options
with equal texts are one option.

The files of AdaReasoner have the options inside the question (``Options: A: ... B: ...`` or
``1) ... 2) ...``; yes or no for metaphors). The prompt leaves such a question as it is.

There is no exact Q* and no rule for a single step: R_P is 1 for every line. The grader compares
short texts, so it neither runs out of time nor fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from qstar_core.domains.in_words import Frame, is_over
from qstar_core.domains.own_part import own_part
from qstar_core.grading import Grade, Outcome, math_answers
from qstar_core.mdp import Problem, Step

MAX_STEPS = 32  # lines of a solution
MAX_CHARACTERS = 2000  # of what is said behind a mark
SHOWN_CHARACTERS = 200
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

GRADER = "choice-text"
GRADER_VERSION = "1"

FRAME = Frame("choice", before="Question: ", after="\nAnswer:\n")
question = FRAME.question  # with its options
MARK = re.compile(
    r"(?:####|\banswer\s?(?:is\b|:)|\bcorrect (?:option|choice) is\b)[^\S\n]{0,9}:?"
    rf"[^\S\n]{{0,9}}([^\n]{{1,{MAX_CHARACTERS}}})",
    re.IGNORECASE,
)
WORDS = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}")
KIND = re.compile(r"(?:the\s+)?(?:option|choice|statement|answer)\s+(?=[(\[]?[A-Z0-9]\b)", re.I)
LABEL = re.compile(r"[(\[]?([A-Z]|[0-9]{1,2})(?:[)\].:]|\s*$|(?=\s+(?:is|because|since)\b)|(?=,))")
EDGES = " \t\r\n\"'`*.,;:!?\u2018\u2019\u201c\u201d$"


def make_problem(question: str, options: Mapping[str, str], answer: str, split: str) -> Problem:
    """The problem of a question whose options are not in its text.

    Args:
        question: its text.
        options: their texts by label, ``A``, ``B`` and so on.
        answer: the text of the right option.
        split: ``"train"`` or ``"test"``.

    Raises:
        ValueError: something is empty, or the answer is no option.
    """
    lines = [question.strip(), *(f"{label}. {text.strip()}" for label, text in options.items())]
    return as_asked("\n".join(lines) if question.strip() else "", options, answer, split)


def as_asked(question: str, options: Mapping[str, str], answer: str, split: str) -> Problem:
    """The problem of a question that names its options itself.

    Raises:
        ValueError: something is empty, or the answer is no option.
    """
    if len(options) < 2:
        raise ValueError(f"fewer than two options: {list(options.values())!r:.80}")
    if any(not plain(text) for text in options.values()):
        raise ValueError("an option is empty")
    if plain(answer) not in {plain(text) for text in options.values()}:
        raise ValueError(f"the answer is none of the options: {answer!r:.80}")
    given = {"answer": answer.strip(), "options": [[k, v.strip()] for k, v in options.items()]}
    return FRAME.problem(question, given, split)


def plain(text: str) -> str:
    """A text as it is compared: lower case, single blanks, nothing at its ends but words.

    A text of nothing but such characters stays as it is.
    """
    words = " ".join(WORDS.sub(r"\1", text).casefold().split())
    return words.strip(EDGES) or words


def options(problem: Problem) -> dict[str, str]:
    """The texts of the options by label."""
    return dict(_reference(problem.reference)[1])


def right_answer(problem: Problem) -> str:
    """The text of the right option."""
    return _reference(problem.reference)[0]


@lru_cache(maxsize=4096)
def _reference(reference: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    given = json.loads(reference)
    return given["answer"], tuple((label, text) for label, text in given["options"])


def said(text: str) -> str | None:
    """What a solution says behind its last mark; None without one."""
    last = None
    for match in MARK.finditer(text):
        last = match
    box = math_answers.boxed(text)
    if box is not None and (last is None or text.rfind("\\boxed") >= last.start()):
        return _bare(box[:MAX_CHARACTERS])
    return _bare(last[1]) if last is not None else None


def _bare(text: str) -> str:
    words = KIND.sub("", WORDS.sub(r"\1", text).strip(EDGES), count=1).strip()
    return words or text.strip()


def chosen(problem: Problem, words: str) -> str | None:
    """The text of the option that some words name; None where they name none, or several."""
    there = options(problem)
    if words in LABELS and words in there:
        return there[words]
    by_text: dict[str, str] = {}
    for text in there.values():
        by_text.setdefault(plain(text), text)
    if plain(words) in by_text:
        return by_text[plain(words)]
    label = LABEL.match(words)
    if label and label[1] in there:
        rest = plain(words[label.end() :])
        others = [text for text in by_text if text != plain(there[label[1]]) and text == rest]
        return None if others else there[label[1]]  # "B. " and the text of A
    longest = max((t for t in by_text if _begins(plain(words), t)), key=len, default=None)
    return by_text[longest] if longest is not None else None


def _begins(words: str, text: str) -> bool:
    return words.startswith(text) and not words[len(text) : len(text) + 1].isalnum()


def max_steps(problem: Problem) -> int:
    """Lines of a solution at most."""
    return MAX_STEPS


def is_terminal(problem: Problem, steps: Sequence[Step]) -> bool:
    """Whether a solution is over: the text ended, the last line answers, or there is no room."""
    return is_over(steps, MAX_STEPS, lambda: said(steps[-1].text) is not None)


def _text(steps: Sequence[str]) -> str:
    return own_part("".join(steps), lambda text: said(text) is not None)


def answer(problem: Problem, steps: Sequence[str]) -> str:
    """The text of the option that a solution chooses, or what else it says behind its mark."""
    words = said(_text(steps))
    if words is None:
        return ""
    found = chosen(problem, words)
    return plain(words)[:SHOWN_CHARACTERS] if found is None else found


def grade(problem: Problem, steps: Sequence[str]) -> Grade:
    """Grades a solution: correct when it chooses the right option."""
    words = said(_text(steps))
    if words is None:
        return Grade(Outcome.NO_ANSWER, reason="nothing behind 'answer is', ####, or \\boxed")
    found = chosen(problem, words)
    if found is None:
        shown = plain(words)[:SHOWN_CHARACTERS]
        return Grade(Outcome.WRONG, shown, "the answer is none of the options")
    if plain(found) != plain(right_answer(problem)):
        return Grade(Outcome.WRONG, found, f"answers {found}, not {right_answer(problem)}")
    return Grade(Outcome.CORRECT, found)


def lenient(problem: Problem, steps: Sequence[str]) -> bool:
    """Whether the last line of a solution, marked or not, chooses the right option."""
    text = _text(steps)
    lines = [line for line in text.splitlines() if line.strip()]
    words = said(text) or (_bare(lines[-1][:MAX_CHARACTERS]) if lines else "")
    found = chosen(problem, words)
    return found is not None and plain(found) == plain(right_answer(problem))


def rule_rewards(problem: Problem, steps: Sequence[str]) -> list[float]:
    """The rule-based process reward R_P: 1 for every line, since there is no rule."""
    return [1.0] * len(steps)
