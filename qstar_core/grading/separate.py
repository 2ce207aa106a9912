"""Takes a test apart: what the program under test computes, and what is checked of it.

A test of MBPP is one ``assert``. Its calls of the program's functions are evaluated where the
program runs, the rest of it where no program ever ran::

    assert set(shared((3, 4), (4, 5))) == set((4,))
        calls:   shared((3, 4), (4, 5))
        check:   set(value(0)) == set((4,))

So the program's process never holds what its answers are compared with, nor decides.
"""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass

MODULES = (
    "cmath",
    "collections",
    "copy",
    "datetime",
    "decimal",
    "fractions",
    "functools",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "statistics",
    "string",
    "sys",
)
"""What a test may name without importing it: some MBPP tests rely on the program's imports."""
BUILTINS = frozenset(dir(builtins))
SCOPES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
CANNOT = (ast.Lambda, ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
CHAIN = (ast.Call, ast.Attribute, ast.Subscript)


class Inseparable(ValueError):
    """A test that cannot be judged apart from the program."""


@dataclass(frozen=True, slots=True)
class Separated:
    """A test in its two parts.

    Attributes:
        calls: expressions that the program's process evaluates, in the order in which they stand.
        check: an expression in which ``value(i)`` is the value of the i-th of all calls.
    """

    calls: tuple[str, ...]
    check: str


def separate(
    test: str, known: Collection[str] = (), own: Collection[str] = (), first: int = 0
) -> Separated:
    """Takes one test apart.

    Args:
        test: the source of one ``assert``.
        known: names that the test's own imports bring.
        own: names of the program that shadow builtins, such as a function called ``sum``.
        first: number of its first call among those of all tests.

    Raises:
        Inseparable: it is no single ``assert``, or its parts depend on each other.
    """
    try:
        body = ast.parse(test.strip()).body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise Inseparable(f"no Python: {test.strip()!r:.80}") from error
    if len(body) != 1 or not isinstance(body[0], ast.Assert):
        raise Inseparable(f"not a single assert: {test.strip()!r:.80}")
    cut = _Cut((BUILTINS | {*known, *MODULES}) - set(own), first)
    check = cut.visit(body[0].test)
    if not cut.calls:
        raise Inseparable(f"calls no function of the program: {test.strip()!r:.80}")
    return Separated(tuple(cut.calls), ast.unparse(check))


class _Cut(ast.NodeTransformer):
    """Replaces what the program computes by ``value(i)``."""

    def __init__(self, trusted: frozenset[str], first: int) -> None:
        self.trusted, self.first = trusted, first
        self.calls: list[str] = []

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, CANNOT):
            raise Inseparable(f"{type(node).__name__} in a test: {ast.unparse(node)!r:.80}")
        if isinstance(node, SCOPES):
            return self._scope(node)
        if isinstance(node, ast.Name) and node.id == "value" and "value" in self.trusted:
            raise Inseparable("a test must not import the name 'value'")
        root = _root(node)
        if root is not None and root.id not in self.trusted:
            return self._call(node)
        return self.generic_visit(node)

    def _scope(self, node: ast.AST) -> ast.AST:
        """A comprehension over the program's values is the program's, unless it compares them."""
        bound = {n.id for n in _names(node) if isinstance(n.ctx, ast.Store)}
        if all(n.id in self.trusted | bound for n in _names(node)):
            return node
        if any(isinstance(inner, ast.Compare) for inner in ast.walk(node)):
            raise Inseparable(f"compares inside of a comprehension: {ast.unparse(node)!r:.80}")
        return self._call(node)

    def _call(self, node: ast.AST) -> ast.AST:
        place = self.first + len(self.calls)
        self.calls.append(ast.unparse(node))
        name = ast.Name("value", ast.Load())
        return ast.Call(func=name, args=[ast.Constant(place)], keywords=[])


def _names(node: ast.AST) -> Iterator[ast.Name]:
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.Name))


def _root(node: ast.AST) -> ast.Name | None:
    """The name that a chain of calls, attributes and subscripts begins with."""
    while isinstance(node, CHAIN):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node if isinstance(node, ast.Name) else None


def imported(source: str) -> tuple[str, ...] | None:
    """The names that a piece of code imports; None where it does anything else."""
    names = []
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            return None
        for alias in node.names:
            if alias.name == "*":
                return None
            names.append(alias.asname or alias.name.partition(".")[0])
    return tuple(names)


def needs_program(setup: str) -> bool:
    """Whether set-up code uses names that neither it nor Python defines, so has to run last."""
    tree = ast.parse(setup)
    bound = {n.id for n in _names(tree) if isinstance(n.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
    return any(n.id not in BUILTINS | bound for n in _names(tree))


def defined(source: str) -> tuple[str, ...]:
    """The functions and classes at the top level of a program; none if it is no Python."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in its texts
            body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError):
        return ()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return tuple(node.name for node in body if isinstance(node, kinds))
