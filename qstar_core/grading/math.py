r"""Is the answer of a MATH problem right? Two graders, and no text that can hang the run.

1. Texts that are the same but for blanks are equal. So are numbers with the same exact value, and
   others are not: integers, decimals and fractions need no mathematics. Percentages are left to
   math-verify (it takes 50% for 0.5 too), as are values so close that one may be rounded.
2. Else math-verify compares the two as mathematics, in a process of a pool (`math_pool`).
3. Where it does not say that they are equal, the normal forms of the two texts are compared
   (`math_forms`). If these are equal the answer counts as right, whatever the first grader said:
   it cannot read every answer, and reads some (``6:00``, a number in base 2) as something else.

An answer that math-verify cannot judge - it hangs, crashes, or the answer is longer than
`MAX_CHARACTERS` - and whose form is another one is graded ``timeout`` or ``grader_error``, never
``wrong``. The reason of a grade says which grader decided, in the words of `BY_FORM` and
`BY_VALUE`, so that one can count and read what the two disagree about.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from qstar_core.grading import Grade, Outcome, math_pool
from qstar_core.grading.math_forms import form
from qstar_core.grading.math_pool import MATH_VERIFY, Finding
from qstar_core.grading.math_worker import DIFFERENT, EQUAL, TIMEOUT, UNREAD

GRADER = "math-verify+form"
GRADER_VERSION = f"1 ({MATH_VERIFY})"

MAX_CHARACTERS = 1000  # of an answer; the longest right one of MATH has some 150
SHOWN_CHARACTERS = 200
KEPT = 20_000  # findings
NUMBER = re.compile(r"-?[0-9]{1,100}(?:\.[0-9]{1,100}|/[0-9]{1,100})?", re.ASCII)
CLOSE = Fraction(1, 1000)  # relative: math-verify rounds to 6 decimals
NEEDLESS = re.compile(r",\\!|[.,;\s]+$")

BY_FORM = "equal by its form alone"
BY_VALUE = "equal by its value alone"
NO_ANSWER = "no \\boxed{...}, and no line with 'the answer is'"

_findings: dict[tuple[str, str], Finding] = {}


def grades(pairs: Sequence[tuple[str, str | None]]) -> list[Grade]:
    """Grades answers, in parallel where it takes time.

    Args:
        pairs: the right answer and the given one, as `math_answers.final` reads it from a text.

    Returns:
        The grades, in the same order.

    Raises:
        UserError: math-verify is not installed, or in another version.
    """
    found = [_at_once(gold, answer) for gold, answer in pairs]
    unsure = [
        (gold, answer)
        for (gold, answer), grade in zip(pairs, found, strict=True)
        if grade is None and answer is not None
    ]
    findings = compared(unsure)
    return [
        _decide(gold, answer or "", findings[gold, answer or ""]) if grade is None else grade
        for (gold, answer), grade in zip(pairs, found, strict=True)
    ]


def compared(pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Finding]:
    """What math-verify says of some pairs; each is compared once, also over several calls."""
    new = list(dict.fromkeys(pair for pair in pairs if pair not in _findings))
    asked = [(NEEDLESS.sub("", gold), NEEDLESS.sub("", answer)) for gold, answer in new]
    found = dict(zip(new, math_pool.shared().compare(asked), strict=True)) if new else {}
    found |= {pair: _findings[pair] for pair in pairs if pair in _findings}
    for pair in new:
        if len(_findings) >= KEPT:
            del _findings[next(iter(_findings))]
        _findings[pair] = found[pair]
    return found


def _at_once(gold: str, answer: str | None) -> Grade | None:
    """The grade of an answer that needs no mathematics; None for others."""
    if answer is None:
        return Grade(Outcome.NO_ANSWER, reason=NO_ANSWER)
    if len(answer) > MAX_CHARACTERS:
        reason = f"an answer of {len(answer):,} characters is not compared"
        return Grade(Outcome.GRADER_ERROR, answer[:SHOWN_CHARACTERS], reason)
    given, wanted = form(answer), form(gold)
    if "".join(answer.split()) == "".join(gold.split()):
        return Grade(Outcome.CORRECT, given)
    if NUMBER.fullmatch(given) and NUMBER.fullmatch(wanted) and "%" not in gold + answer:
        if given == wanted:
            return Grade(Outcome.CORRECT, given)
        one, other = Fraction(given), Fraction(wanted)
        if abs(one - other) > CLOSE * max(abs(one), abs(other)):
            return Grade(Outcome.WRONG, given, f"answers {given}, not {wanted}")
    return None


def _decide(gold: str, answer: str, finding: Finding) -> Grade:
    given, wanted = form(answer), form(gold)
    alike = bool(given) and given == wanted
    shown, detail = given[:SHOWN_CHARACTERS], finding.detail
    if finding.kind == EQUAL:
        return Grade(Outcome.CORRECT, shown, "" if alike else f"{BY_VALUE}: the form is {wanted}")
    if alike:
        said = detail or "math-verify says that they differ"
        return Grade(Outcome.CORRECT, shown, f"{BY_FORM}: {said}")
    if finding.kind == DIFFERENT:
        return Grade(Outcome.WRONG, shown, f"answers {shown}, not {wanted}")
    if finding.kind == UNREAD:
        return Grade(Outcome.WRONG, shown, f"answers {shown}, not {wanted}: {detail}")
    outcome = Outcome.TIMEOUT if finding.kind == TIMEOUT else Outcome.GRADER_ERROR
    return Grade(outcome, shown, f"math-verify: {detail}")
