r"""Numbers as answers: reading them out of a text, and comparing them exactly.

A *marked* answer is a number that follows ``####`` (GSM8K's own mark), ``answer is``, ``answer:``
or ``\boxed{`` on the same line, with nothing between but blanks, currency, ``: = ~ *``, brackets or
a name such as ``x =``. Of several the last one counts. What else a text says is no answer: a number
that merely stands in the last line is left to `last_number`, which is lenient.

Read alike are ``1,234.50``, ``$1234.5``, ``1234.5%`` and ``1234.50 dollars.``: separators of
thousands, currency, units, percent and a closing period are dropped; ``3/4`` and ``\frac{3}{4}``
are 0.75, ``1\frac{3}{4}`` is 1.75. Values are fractions, so 0.5, .50 and 1/2 are equal and
0.1 + 0.2 is 0.3. There are no exponents, and a number of more than `MAX_CHARACTERS` has no value,
so no text makes arithmetic expensive. Every pattern is linear in the text: nothing here can hang,
and no time limit is needed.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact
from fractions import Fraction

MAX_CHARACTERS = 100  # of a number; longer ones have no value
BLANK = r"[^\S\n]"
CURRENCY = "$€£¥"
MINUS = "-\u2212"  # hyphen, and the minus sign of typographers
DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
UNSIGNED = rf"(?:{DIGITS}(?:\.[0-9]+)?|\.[0-9]+)"
SIGN = rf"(?:(?<![\w).%])[{MINUS}+])?"  # in "5-3" there is none
NUMBER = rf"{SIGN}(?:[{CURRENCY}][{MINUS}]?)?{UNSIGNED}(?:/[0-9]+(?![0-9/]|\.[0-9]))?"
OPENING = rf"(?:{BLANK}|[:=~≈*_(\[{{{CURRENCY}]|\\[(\[]|\\boxed\{{|[A-Za-z]{BLANK}{{0,3}}=){{0,40}}"
MARK = rf"(?:####|\banswer{BLANK}?(?:is\b|:)|\\boxed\{{)"
MARKED = re.compile(rf"{MARK}{OPENING}({NUMBER})(?![0-9]|:[0-9])", re.IGNORECASE)
ANY = re.compile(NUMBER)

ANNOTATION = re.compile(r"<<[^<>\n]*>>")
FRACTION = re.compile(r"((?<![0-9.,])[0-9]{1,9})?\\[dt]?frac\{([0-9]{1,40})\}\{([0-9]{1,40})\}")
REPLACED = {"{,}": ",", r"\,": "", r"\!": "", r"\$": "$", r"\%": "%"}


def plain(text: str) -> str:
    """A text without GSM8K's ``<<48/2=24>>`` and without LaTeX inside its numbers."""
    text = ANNOTATION.sub("", text)
    if "\\" not in text and "{,}" not in text:
        return text
    for latex, character in REPLACED.items():
        text = text.replace(latex, character)
    return FRACTION.sub(_slashed, text)


def _slashed(match: re.Match[str]) -> str:
    """A fraction with a slash; a mixed number, such as ``1\\frac{2}{3}``, as one fraction."""
    whole, above, below = match.groups()
    return f"{int(whole) * int(below) + int(above) if whole else above}/{below}"


def marked(text: str) -> str | None:
    """The last marked number of a text that went through `plain`, as written; None without one."""
    found = None
    for match in MARKED.finditer(text):
        found = match[1]
    return found


def last_number(text: str) -> str | None:
    """The last number of a text that went through `plain`, as written; None without one."""
    found = None
    for match in ANY.finditer(text):
        found = match[0]
    return found


def value(number: str) -> Fraction | None:
    """The value of a number as `NUMBER` matches it; None where it has none (``1/0``, too long)."""
    if len(number) > MAX_CHARACTERS:
        return None
    above, _, below = number.partition("/")
    digits = "".join(c for c in above if c in "0123456789.")
    divisor = int(below) if below else 1
    if divisor == 0:
        return None
    found = Fraction(Decimal(digits)) / divisor
    return -found if any(c in MINUS for c in above) else found


def read(text: str) -> Fraction | None:
    """The value of a text that is one number and nothing else but a percent sign or a period."""
    match = re.fullmatch(rf"\s*({NUMBER})%?\.?\s*", plain(text))
    return value(match[1]) if match else None


def show(number: Fraction) -> str:
    """A value in its one canonical form: an integer, a finite decimal, or else a fraction."""
    if number.denominator == 1:
        return str(number.numerator)
    exact = Context(prec=4 * MAX_CHARACTERS, traps=[Inexact])
    try:
        found = exact.divide(Decimal(number.numerator), Decimal(number.denominator))
    except Inexact:
        return str(number)
    return format(found, "f")
