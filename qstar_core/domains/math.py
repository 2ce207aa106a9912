r"""MATH: contest problems whose answer is a piece of LaTeX (arXiv 2103.03874).

One line is one action. The prompt is the problem; a solution reasons line by line and gives its
answer in a box, as the data set's own solutions do, or says it::

    Problem:
    What is $\frac{1}{2} + \frac{1}{3}$?

    Solution:                                                     the prompt ends here
    We have $\frac{1}{2} + \frac{1}{3} = \frac{3}{6} + \frac{2}{6}$.
    The answer is $\boxed{\frac{5}{6}}$.

The answer of a solution is its last complete ``\boxed{...}``, else what the last line with "the
answer is" says (`qstar_core.grading.math_answers`), not of a next problem (`own_part`).
`qstar_core.grading.math` says how it is compared with the right one. Answers are one for
self-consistency where their normal forms are one.

There is no exact Q* here, and no rule for a single step: most lines are algebra, and arithmetic
read out of LaTeX (``2^3 - 1 = 7``, ``7 + 8 = 3`` modulo 12) calls right lines wrong. So R_P is 1
for every line; on MATH the Q* paper has no process reward either (g = 0).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

from qstar_core.domains.in_words import Frame, is_over
from qstar_core.domains.own_part import own_part
from qstar_core.grading import Grade, math, math_answers, math_forms
from qstar_core.mdp import Problem, Step

MAX_STEPS = 64  # lines of a solution

GRADER = math.GRADER
GRADER_VERSION = math.GRADER_VERSION

FRAME = Frame("math", before="Problem:\n", after="\n\nSolution:\n")
question, without_reference = FRAME.question, FRAME.unanswered


def make_problem(question: str, reference: object, split: str) -> Problem:
    r"""The problem of a question.

    Args:
        question: its text.
        reference: the right answer: LaTeX, a number, or a solution with a ``\boxed{...}``.
        split: ``"train"`` or ``"test"``.

    Raises:
        ValueError: the question or the reference is empty, or the reference is no text.
    """
    return FRAME.problem(question, {"answer": _answer(reference)}, split)


def _answer(reference: object) -> str:
    if isinstance(reference, bool) or not isinstance(reference, str | int | float):
        raise ValueError(f"the reference must be a text or a number, got {reference!r:.80}")
    text = str(reference)
    found = math_answers.boxed(text)
    if found is None and math_answers.BOX.search(text):
        raise ValueError("the \\boxed{...} of the reference has no end, or is empty")
    found = text.strip() if found is None else found
    if not math_forms.form(found):
        raise ValueError("the reference is empty")
    if len(found) > math.MAX_CHARACTERS:
        raise ValueError(f"the reference has {len(found):,} characters, and no \\boxed{{...}}")
    return found


def right_answer(problem: Problem) -> str:
    """The reference answer, as LaTeX.

    Raises:
        ValueError: nobody said it.
    """
    return _right_answer(problem.reference)


@lru_cache(maxsize=4096)
def _right_answer(reference: str) -> str:
    answer = json.loads(reference)["answer"]
    if answer is None:
        raise ValueError("the problem has no right answer")
    return str(answer)


def max_steps(problem: Problem) -> int:
    """Lines of a solution at most."""
    return MAX_STEPS


def is_terminal(problem: Problem, steps: Sequence[Step]) -> bool:
    """Whether a solution is over: the text ended, it has given an answer, or there is no room."""
    return is_over(
        steps,
        MAX_STEPS,
        lambda: math_answers.final("".join(step.text for step in steps)) is not None,
    )


def _final(steps: Sequence[str]) -> str | None:
    text = own_part("".join(steps), lambda text: math_answers.final(text) is not None)
    return math_answers.final(text)


def answer(problem: Problem, steps: Sequence[str]) -> str:
    """The normal form of a solution's answer; empty when it has none."""
    found = _final(steps)
    return math_forms.form(found) if found and len(found) <= math.MAX_CHARACTERS else ""


def grade(problem: Problem, steps: Sequence[str]) -> Grade:
    """Grades a solution; see `qstar_core.grading.math`."""
    return grade_many([(problem, steps)])[0]


def grade_many(pairs: Sequence[tuple[Problem, Sequence[str]]]) -> list[Grade]:
    """Grades solutions in parallel.

    Args:
        pairs: problems and the steps of a solution.

    Returns:
        The grades in the same order.
    """
    return math.grades([(right_answer(problem), _final(steps)) for problem, steps in pairs])


def rule_rewards(problem: Problem, steps: Sequence[str]) -> list[float]:
    """The rule-based process reward R_P: 1 for every line, since there is no honest rule."""
    return [1.0] * len(steps)
