"""Whether lines of arithmetic reach a target, however they are written.

This is what a lenient grader of countdown looks at: each number is used once and the arithmetic is
true. Spaces, the part after ``|``, negative or large values in between and whole answers on one
line are all allowed. A slash without spaces is read as a fraction first, then as a division.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction

LONGEST = 120  # characters of an expression; longer ones are no answers to such problems
EXPRESSION = re.compile(r"[\d+\-*/() ]+", re.ASCII)
VALUE = re.compile(r"-?\d+(?:/[1-9]\d*)?", re.ASCII)
FRACTION = re.compile(r"(\d+)/([1-9]\d*)", re.ASCII)
SIGNS = str.maketrans(
    {
        "x": "*",
        "X": "*",
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{MIDDLE DOT}": "*",
        "\N{DIVISION SIGN}": "/",
        "\N{MINUS SIGN}": "-",
        "[": "(",
        "]": ")",
    }
)


def reaches(
    numbers: Sequence[Fraction], target: Fraction, texts: Iterable[str], use_all: bool = True
) -> bool:
    """Whether the arithmetic of some lines uses up the numbers and ends in the target.

    Args:
        numbers: to be used exactly once each.
        target: what must be left.
        texts: steps; a step may hold several lines. Lines without arithmetic are passed over.
        use_all: whether all numbers must be used; if not, given ones may be left as well.
    """
    remaining = list(numbers)
    worked = False
    for line in (line for text in texts for line in text.splitlines()):
        expression, value = parts(line)
        if not expression:
            continue
        after = _after(remaining, expression, value)
        if after is None:
            return False
        remaining, worked = after, True
    if not use_all and worked and target in remaining:
        remaining.remove(target)
        return Counter(remaining) <= Counter(numbers)
    return worked and remaining == [target]


def parts(line: str) -> tuple[str, Fraction | None]:
    """The expression of a line and the value it is said to have; empty where there is none."""
    said = line.partition("|")[0].translate(SIGNS)
    left, equals, right = said.partition("=")
    expression = left.strip()
    if len(expression) > LONGEST or not EXPRESSION.fullmatch(expression):
        return "", None
    found = VALUE.match(right.strip()) if equals else None
    value = Fraction(found[0]) if found and len(found[0]) <= LONGEST else None
    return (expression, value) if any(c in "+-*/" for c in expression) else ("", None)


def _after(
    numbers: list[Fraction], expression: str, value: Fraction | None
) -> list[Fraction] | None:
    """What remains after an expression; None where its numbers are not there or it is untrue."""
    fractions = FRACTION.sub(r"\1**\2", expression)  # binds tighter than any sign of the language
    for text in (fractions, expression) if "**" not in expression else ():
        try:
            tree = ast.parse(text, mode="eval").body
            used: list[Fraction] = []
            result = _evaluate(tree, used)
        except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
            continue
        rest = list(numbers)
        for number in used:
            if number not in rest:
                break
            rest.remove(number)
        else:
            if value is None or value == result:
                return [*rest, result]
    return None


def _evaluate(node: ast.expr, used: list[Fraction]) -> Fraction:
    """The value of a syntax tree of numbers and + - * /; notes the numbers in it.

    Raises:
        ValueError: there is anything else in it.
    """
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(Fraction(node.value))
        return used[-1]
    if not isinstance(node, ast.BinOp):
        raise ValueError("not arithmetic")
    if isinstance(node.op, ast.Pow):  # a fraction, see `_after`
        if not (isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant)):
            raise ValueError("not a fraction")
        used.append(Fraction(int(str(node.left.value)), int(str(node.right.value))))
        return used[-1]
    left, right = _evaluate(node.left, used), _evaluate(node.right, used)
    if isinstance(node.op, ast.Add):
        return left + right
    if isinstance(node.op, ast.Sub):
        return left - right
    if isinstance(node.op, ast.Mult):
        return left * right
    if isinstance(node.op, ast.Div):
        return left / right
    raise ValueError("not one of + - * /")
