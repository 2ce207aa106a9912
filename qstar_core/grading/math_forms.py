r"""The normal form of an answer as a string: the second grader of MATH.

Two answers with one form are equal. It is the idea of ``is_equiv`` of the MATH data set (Hendrycks
et al., arXiv 2103.03874, appendix): what is written in several ways without another meaning is
written in one. Units, degrees, percent and dollar signs, blanks, ``\left`` and ``\right``, the
style of fractions, and the name in ``x = 5`` are dropped; ``\frac12``, ``1/2`` and ``0.5`` are one.

We depart from it in two points.

1. Numbers are compared as exact fractions (`qstar_core.grading.numeric`), so 2/4 is 1/2 too.
2. The words of ``\text{...}`` are kept where they are all there is, in lower case.

A form is linear work for any text. That two forms differ says little: ``x + 1`` and ``1 + x`` do.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from qstar_core.grading import numeric

NOTHING = (
    r"\\(?:left|right|big|Big|bigg|Bigg|bigl|bigr|Bigl|Bigr)(?![A-Za-z])"
    r"|\\(?:displaystyle|textstyle|limits|nolimits|quad|qquad|hspace\{[^{}]*\})(?![A-Za-z])"
    r"|(?<!\\)\\[!,;: ]|~|\$|\\\$|\\?%|\^\{?\\circ\}?|\^?\\degree(?:s)?(?![A-Za-z])|°|\{,\}"
)
DROPPED = re.compile(NOTHING)
THIN = re.compile(r",\\!")  # 10,\!000
RENAMED = (
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:leq|leqslant)(?![A-Za-z])"), r"\\le"),
    (re.compile(r"\\(?:geq|geqslant)(?![A-Za-z])"), r"\\ge"),
    (re.compile(r"\\neq(?![A-Za-z])"), r"\\ne"),
    (
        re.compile(r"\\(?:mathrm|textbf|mathbf|textrm|mbox|textnormal|rm|bf|mathit|textit)\b"),
        r"\\text",
    ),
    (re.compile(r"\\dbinom\b"), r"\\binom"),
    (re.compile(r"\\begin\{[bv]matrix\}"), r"\\begin{pmatrix}"),
    (re.compile(r"\\end\{[bv]matrix\}"), r"\\end{pmatrix}"),
    (re.compile(r"\u2212"), "-"),
)
WORDS = re.compile(r"\\text\s*\{([^{}]*)\}")
UNIT = re.compile(r"(?<=[0-9}\])])\s*\\text\s*\{[^{}]*\}(?:\^\{?[0-9]\}?)?\s*$")
BLANK_UNIT = re.compile(
    r"(?<=[0-9])\s+(?:square |cubic )?(?:dollars?|cents?|degrees?|units?|inch(?:es)?|feet|foot|cm|"
    r"m|meters?|miles?|hours?|minutes?|seconds?|days?|people|students?|ways?)\s*$",
    re.IGNORECASE,
)
SHORT_FRACTION = re.compile(r"\\frac\s*([0-9A-Za-z])\s*([0-9A-Za-z])")
HALF_FRACTION = re.compile(
    r"\\frac\s*(?:\{([^{}]*)\}\s*([0-9A-Za-z])|([0-9A-Za-z])\s*\{([^{}]*)\})"
)
SHORT_ROOT = re.compile(r"\\sqrt\s*([0-9A-Za-z])")
PLAIN_FRACTION = re.compile(r"(?<![0-9A-Za-z}/)])([0-9]+)/([0-9]+)(?![0-9A-Za-z/(])")
ONE_CHARACTER = re.compile(r"([_^])\{([0-9A-Za-z])\}")
NAME = re.compile(r"^[A-Za-z](?:\([A-Za-z]\))?\s*(?:=|\\in(?![A-Za-z]))\s*(?=[^=]+$)")
FRACTION = re.compile(r"(-?)([0-9]{0,40})\\frac\{(-?)([0-9]{1,40})\}\{(-?)([0-9]{1,40})\}")
LETTER = re.compile(r"\(([A-Za-z])\)")
POINT = re.compile(r"(?<![0-9])\.(?=[0-9])")


@lru_cache(maxsize=65536)
def form(answer: str) -> str:
    """The normal form of an answer; of one without content it is empty."""
    text = THIN.sub("", answer)
    text = DROPPED.sub("", text).strip().rstrip(".").strip()
    for pattern, name in RENAMED:
        text = pattern.sub(name, text)
    text = BLANK_UNIT.sub("", UNIT.sub("", text))
    text = NAME.sub("", WORDS.sub(r" \1 ", text).strip())
    text = SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text)
    text = HALF_FRACTION.sub(_whole_fraction, text)
    text = SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    text = ONE_CHARACTER.sub(r"\1\2", text)
    text = POINT.sub("0.", text)
    text = "".join(text.split())
    return _number(text) or _plain(text)


def _whole_fraction(match: re.Match[str]) -> str:
    above, below = (match[1], match[2]) if match[1] is not None else (match[3], match[4])
    return f"\\frac{{{above}}}{{{below}}}"


def _number(text: str) -> str:
    """The canonical form of a text that is one number; empty for others."""
    match = FRACTION.fullmatch(text)
    if match is None:
        value = numeric.read(text) if "\\" not in text else None
        return numeric.show(value) if value is not None else ""
    sign, whole, above_sign, above, below_sign, below = match.groups()
    if int(below) == 0 or (whole and (above_sign or below_sign)):
        return ""
    value = int(whole or 0) + Fraction(int(above), int(below))  # 1\frac{2}{3} is a mixed number
    return numeric.show(value * (-1) ** len(sign + above_sign + below_sign))


def _plain(text: str) -> str:
    text = PLAIN_FRACTION.sub(r"\\frac{\1}{\2}", text)
    letter = LETTER.fullmatch(text)
    text = letter[1] if letter else text
    return text.lower() if len(text) > 1 and text.isalpha() else text
