"""Is the arithmetic of a line right? Equations of numbers, such as ``48 / 2 = 24``, are checked.

An equation is a chain of numbers and ``+ - * x / ÷`` with at least one operator, then ``=`` and one
number. Multiplication and division come first, as usual. Whatever is not of that form (words or
brackets among the numbers, an expression on the right, ``2x = 10``) is not judged, so a line is
only called wrong for an equation that is written out.

A result written with decimals may be rounded or cut off: it may miss the exact value by less than
one unit of its last decimal place. An integer result has to be exact. ``25% * 80 = 20`` and
``1 / 4 = 25%`` are right: a percentage is a hundredth, on the right it may also be the bare number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from qstar_core.grading import numeric

MAX_TERMS = 50  # of a chain; a longer one is not judged
LETTER = "A-WYZa-wyz"  # but x, which multiplies
TOKEN = re.compile(
    rf"(?P<number>(?<![{LETTER}0-9_.,])[{numeric.CURRENCY}]?{numeric.UNSIGNED}(?:{numeric.BLANK}?%)?"
    rf"(?![{LETTER}0-9_]|[.,][0-9]))"
    rf"|(?P<operator>[{numeric.MINUS}\u2013+*/\u00d7\u00f7=]|(?<![A-Za-z])x(?![A-Za-z]))"
    r"|(?P<close>\))"
    rf"|(?P<blank>{numeric.BLANK}+)"
)
MEANS = {"\u00d7": "*", "x": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-"}

Side = list[str]
"""Tokens between two equals signs: numbers and operators in turn."""


def right(line: str) -> bool:
    """Whether all equations of a line hold; a line without one is right."""
    return all(equations(numeric.plain(line)))


def equations(line: str) -> Iterator[bool]:
    """Whether each equation of a line that went through `numeric.plain` holds, in their order."""
    for run in _runs(line):
        sides: list[Side] = [[]]
        for token in run:
            if token == "=":
                sides.append([])
            else:
                sides[-1].append(token)
        for left, result in pairwise(sides):
            if _is_chain(left) and (written := _result(result)) is not None:
                yield _holds(left, written)


def _runs(line: str) -> Iterator[list[str]]:
    """Tokens that follow each other with nothing but blanks between; a bracket's end begins one.

    Two numbers side by side (``1 1/2``, ``350 000``) stay in one run, which is then no chain.
    """
    run: list[str] = []
    end = 0
    for match in TOKEN.finditer(line):
        if match.lastgroup == "blank":
            if match.start() == end:
                end = match.end()
            continue
        if match.start() != end or match.lastgroup == "close":
            yield run
            run = []
        run.append(MEANS.get(match[0], match[0]))
        end = match.end()
    yield run


def _is_number(token: str) -> bool:
    return token[-1].isdigit() or token[-1] == "%"


def _is_chain(side: Side) -> bool:
    """A number, then operators each with a number; at least one operator."""
    odd = all(_is_number(token) == (place % 2 == 0) for place, token in enumerate(side))
    return odd and len(side) % 2 == 1 and 3 <= len(side) < 2 * MAX_TERMS


def _result(side: Side) -> str | None:
    """The one number of a right side, with its sign; None where there is something else."""
    sign = "-" if side[:1] == ["-"] else ""
    rest = side[1:] if sign else side
    return sign + rest[0] if len(rest) == 1 and _is_number(rest[0]) else None


def _holds(chain: Side, result: str) -> bool:
    exact, written = _evaluate(chain), numeric.value(result.rstrip("%"))
    if exact is None or written is None:
        return False
    decimals = len(result.rstrip("%").partition(".")[2])
    unit = Fraction(1, 10**decimals)
    read = [(written, unit)]
    if result.endswith("%"):
        read.append((written / 100, unit / 100))
    return any(exact == v or (decimals > 0 and abs(exact - v) < u) for v, u in read)


def _evaluate(chain: Side) -> Fraction | None:
    """The exact value; None for a division by zero or a number without a value."""
    total, product, sign = Fraction(0), _value(chain[0]), 1
    for operator, token in zip(chain[1::2], chain[2::2], strict=True):
        term = _value(token)
        if product is None or term is None or (operator == "/" and term == 0):
            return None
        if operator in "+-":
            total += sign * product
            product, sign = term, 1 if operator == "+" else -1
        else:
            product = product * term if operator == "*" else product / term
    return None if product is None else total + sign * product


def _value(token: str) -> Fraction | None:
    found = numeric.value(token.rstrip("%"))
    return found / 100 if found is not None and token.endswith("%") else found
