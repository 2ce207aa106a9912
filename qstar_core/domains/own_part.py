"""What of a text is the solution: base models that have answered go on with a next problem.

After a few worked examples such a model writes ``Question:`` or ``Problem:`` behind its answer and
answers that one as well. Harnesses stop it there. Here whole rollouts are sampled first and read
afterwards, so what follows such a line counts no more once there is an answer before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

NEXT = re.compile(r"^(?:Question|Problem|Q):", re.MULTILINE)
TRIED = 8  # such lines; a model that restates the question has one


def own_part(text: str, answered: Callable[[str], bool]) -> str:
    """A text up to the first line that begins another problem behind an answer.

    Args:
        text: steps, put together.
        answered: whether a text gives an answer.
    """
    for number, match in enumerate(NEXT.finditer(text)):
        if number == TRIED:
            break
        before = text[: match.start()]
        if answered(before):
            return before
    return text
