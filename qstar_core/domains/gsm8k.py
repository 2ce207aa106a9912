r"""GSM8K: grade-school word problems whose answer is one number (arXiv 2110.14168).

One line is one action. The prompt is the question; a solution reasons line by line and says its
answer behind a mark, as the data set's own solutions do in their last line::

    Question: Natalia sold clips to 48 of her friends in April, and then ...
    Answer:                                                       the prompt ends here
    Natalia sold 48/2 = <<48/2=24>>24 clips in May.
    Natalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May.
    #### 72

The answer of a solution is its last *marked* number (`qstar_core.grading.numeric`): ``#### n`` as
in the data set, ``The answer is n`` as in chain-of-thought prompts, ``\boxed{n}`` as models trained
on MATH write it. That is the field's strict match (the ``strict-match`` of the LM evaluation
harness knows one mark per prompt; we take any of them, whatever the prompt asked for). A solution
without a marked number gives no answer, even where its last line holds the right number: whoever
asks for that uses `lenient`, the harness's ``flexible-extract``. Numbers are compared as fractions,
not as text, so 72, 72.0 and $72 are equal.

What a text says after its answer about a next problem is left out (`own_part`).

There is no exact Q* here. The grader is arithmetic on one text, so it neither runs out of time
nor fails.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from qstar_core.domains.in_words import Frame, is_over
from qstar_core.domains.own_part import own_part
from qstar_core.grading import Grade, Outcome, arithmetic, numeric
from qstar_core.mdp import Problem, Step

MAX_STEPS = 32  # lines of a solution; those of the data set have 2 to some 10
MARK = "####"

GRADER = "gsm8k-numeric"
GRADER_VERSION = "2"

FRAME = Frame("gsm8k", before="Question: ", after="\nAnswer:\n")
question, without_reference = FRAME.question, FRAME.unanswered


def make_problem(question: str, reference: object, split: str) -> Problem:
    """The problem of a question.

    Args:
        question: its text.
        reference: the right answer: a number, its text, or a solution whose last mark is
            ``#### n``.
        split: ``"train"`` or ``"test"``.

    Raises:
        ValueError: the question is empty, or the reference is no number.
    """
    return FRAME.problem(question, {"answer": numeric.show(_number(reference))}, split)


def _number(reference: object) -> Fraction:
    if isinstance(reference, bool) or not isinstance(reference, str | int | float):
        raise ValueError(f"the reference must be a number or a text, got {reference!r:.80}")
    text = str(reference).rpartition(MARK)[2]
    found = numeric.read(text)
    if found is None:
        raise ValueError(f"no number in the reference: {text.strip()!r:.80}")
    return found


def right_answer(problem: Problem) -> Fraction:
    """The reference answer."""
    return _right_answer(problem.reference)


@lru_cache(maxsize=4096)
def _right_answer(reference: str) -> Fraction:
    return Fraction(json.loads(reference)["answer"])


def max_steps(problem: Problem) -> int:
    """Lines of a solution at most."""
    return MAX_STEPS


def is_terminal(problem: Problem, steps: Sequence[Step]) -> bool:
    """Whether a solution is over: the text ended, the last line answers, or there is no room."""
    return is_over(
        steps, MAX_STEPS, lambda: numeric.marked(numeric.plain(steps[-1].text)) is not None
    )


def _text(steps: Sequence[str]) -> str:
    return own_part(numeric.plain("".join(steps)), lambda text: numeric.marked(text) is not None)


def answer(problem: Problem, steps: Sequence[str]) -> str:
    """The marked answer of a solution in canonical form; empty when it has none."""
    written = numeric.marked(_text(steps))
    found = numeric.value(written) if written is not None else None
    return numeric.show(found) if found is not None else ""


def grade(problem: Problem, steps: Sequence[str]) -> Grade:
    """Grades a solution: correct when its marked answer equals the reference."""
    written = numeric.marked(_text(steps))
    if written is None:
        return Grade(Outcome.NO_ANSWER, reason="no number behind ####, 'answer is' or \\boxed")
    found, wanted = numeric.value(written), right_answer(problem)
    if found is None:
        shown = written[: numeric.MAX_CHARACTERS]
        return Grade(Outcome.WRONG, shown, "the answer has no value, or too many digits")
    given = numeric.show(found)
    if found != wanted:
        return Grade(Outcome.WRONG, given, f"answers {given}, not {numeric.show(wanted)}")
    return Grade(Outcome.CORRECT, given)


def lenient(problem: Problem, steps: Sequence[str]) -> bool:
    """Whether the last number of a solution, marked or not, equals the reference."""
    written = numeric.last_number(_text(steps))
    return written is not None and numeric.value(written) == right_answer(problem)


def rule_rewards(problem: Problem, steps: Sequence[str]) -> list[float]:
    """The rule-based process reward R_P: 0 for a line with a false equation, else 1.

    Unlike countdown's, a line does not suffer from a false one before it: what it writes out may
    well be right.
    """
    return [float(arithmetic.right(line)) for line in steps]
