"""Makes math-verify faster without changing what it says; the workers of the pool `apply` it.

Nearly all of its time goes into two places, and both have a cheaper way that is as sure.

1. *Two-stage parsing.* Its LaTeX parser is ANTLR's, in Python, and looks ahead with the whole
   context (LL). ANTLR's mode SLL is cheaper, and either gives the same tree or reports a syntax
   error (documentation of ANTLR's ``PredictionMode``). Only then is the text parsed with LL.
2. *Different at a point.* That two expressions differ is found by ``simplify`` of their difference,
   which takes longest where there is nothing to simplify to. A difference that is not zero at one
   point, computed to 15 digits, is not zero.

``tests/grading/test_math_faster.py`` compares both with the original on the answers of MATH.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

CLEAR = 1e-6  # a value beyond this is not zero; the digits that are asked for are far below
DIGITS = 15
STEP = 377  # of the point, in thousandths: its coordinates are 1.237, 1.614, 1.991, ...


def apply() -> None:
    """Changes math-verify in this process; it has to be the version that is pinned."""
    from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy
    from math_verify import grader

    original = _Latex2Sympy.create_parser
    _Latex2Sympy.create_parser = lambda self, latex: TwoStages(lambda: original(self, latex))
    grader.sympy_symbolic_eq = unless_different(grader.sympy_symbolic_eq)


class TwoStages:
    """Stands for a parser, of which only the rule ``math`` is used.

    Args:
        make: a new parser of the text.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def math(self) -> Any:
        """The tree of the text.

        Raises:
            Exception: a syntax error, as the parser's listener raises it.
        """
        from antlr4.atn.PredictionMode import PredictionMode

        parser = self._make()
        parser._interp.predictionMode = PredictionMode.SLL
        try:
            return parser.math()
        except Exception:  # the listener raises nothing more special
            return self._make().math()


def unless_different(equal: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """The comparison of two expressions, made only where they do not clearly differ."""

    def compared(one: Any, other: Any) -> bool:
        try:
            if differ(one, other):
                return False
        except Exception:  # sympy may raise anything; then nothing is known
            pass
        return equal(one, other)

    return compared


def differ(one: Any, other: Any) -> bool:
    """Whether two expressions clearly have different values at one point.

    False says nothing: they may be no numbers there, or too close, or of another kind.

    Raises:
        Exception: the difference cannot be computed.
    """
    from sympy import Derivative, Expr, Limit, Rational
    from sympy.concrete.expr_with_limits import ExprWithLimits

    difference = one - other
    if not isinstance(difference, Expr) or difference.has(ExprWithLimits, Derivative, Limit):
        return False
    symbols = sorted(difference.free_symbols, key=str)
    if any(s.is_integer is not None or s.is_nonnegative is not None for s in symbols):
        return False  # equal where they are whole, or positive, is equal
    point = {s: Rational(1237 + STEP * k, 1000) for k, s in enumerate(symbols)}
    value = complex(difference.evalf(DIGITS, subs=point, strict=True))
    return math.isfinite(abs(value)) and abs(value) > CLEAR
