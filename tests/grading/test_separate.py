from __future__ import annotations

import ast

import pytest

from qstar_core.grading.separate import (
    Inseparable,
    defined,
    imported,
    needs_program,
    separate,
)


@pytest.mark.parametrize(
    ("test", "calls", "check"),
    [
        ("assert f(3) == 4", ["f(3)"], "value(0) == 4"),
        ("assert set(f((1, 2))) == set((1,))", ["f((1, 2))"], "set(value(0)) == set((1,))"),
        ("assert f(3)", ["f(3)"], "value(0)"),
        ("assert not f(3), 'told'", ["f(3)"], "not value(0)"),
        ("assert math.isclose(f(1), 2)", ["f(1)"], "math.isclose(value(0), 2)"),
        ("assert f(g(1)) == h(2)", ["f(g(1))", "h(2)"], "value(0) == value(1)"),
        ("assert Stack(3).push(1).items[0] == 1", ["Stack(3).push(1).items[0]"], "value(0) == 1"),
        ("assert f(lambda x: x) == 1", ["f(lambda x: x)"], "value(0) == 1"),
        ("assert f(root) == root2", ["f(root)", "root2"], "value(0) == value(1)"),
        ("assert [f(x) for x in (1,)] == [1]", ["[f(x) for x in (1,)]"], "value(0) == [1]"),
        ("assert f(1) == [x for x in (1, 2)]", ["f(1)"], "value(0) == [x for x in (1, 2)]"),
        ("assert 'a'.join(f(1)) == 'bac'", ["f(1)"], "'a'.join(value(0)) == 'bac'"),
        ("assert value(3) == 1", ["value(3)"], "value(0) == 1"),
    ],
)  # fmt: skip
def test_a_test_is_taken_apart(test: str, calls: list[str], check: str) -> None:
    found = separate(test)
    assert list(found.calls) == calls
    assert found.check == check


def test_what_is_expected_stays_out_of_the_programs_part() -> None:
    found = separate("assert f([1, 2]) == {'horse': 'battery'}")
    assert all("horse" not in call for call in found.calls)


def test_calls_are_numbered_over_all_tests() -> None:
    assert separate("assert f(3) == 4", first=7).check == "value(7) == 4"


def test_a_function_may_have_the_name_of_a_builtin() -> None:
    assert separate("assert sum(10, 15) == 6", own=("sum",)).calls == ("sum(10, 15)",)
    with pytest.raises(Inseparable, match="calls no function"):
        separate("assert sum(10, 15) == 6")


def test_imported_names_are_not_the_programs() -> None:
    assert separate("assert near(f(1), 2)", ("near",)).calls == ("f(1)",)
    assert separate("assert near(f(1), 2)").calls == ("near(f(1), 2)",)


@pytest.mark.parametrize(
    "test",
    [
        "f(3) == 4",
        "assert f(3) == 4\nassert f(4) == 5",
        "assert f(",
        "",
        "assert 1 == 1",
        "assert all(f(x) == y for x, y in ((1, 2), (2, 3)))",
        "assert (lambda y: f(3) == y)(4)",
        "assert (y := f(3)) == y",
        "for x in (1, 2): assert f(x) == x",
        "assert " + "(" * 500,
        "assert f(3) == '\0'",
    ],
)
def test_what_cannot_be_taken_apart_is_refused(test: str) -> None:
    with pytest.raises(Inseparable):
        separate(test)


def test_what_code_imports() -> None:
    assert imported("import math\nfrom collections import Counter as C, deque\nimport os.path") == (
        "math",
        "C",
        "deque",
        "os",
    )
    assert imported("") == ()
    assert imported("import math\nx = 1") is None
    assert imported("from math import *") is None


@pytest.mark.parametrize(
    ("setup", "late"),
    [
        ("import math\nx = math.pi", False),
        ("root = Node(1)\nroot.left = Node(2)", True),
        ("class Node:\n    def __init__(self, value): self.value = value\nroot = Node(1)", False),
        ("def helper(x, *y): return len(y) + x", False),
        ("", False),
    ],
)
def test_set_up_that_needs_the_program_is_told_apart(setup: str, late: bool) -> None:
    assert needs_program(setup) is late


def test_what_a_program_defines() -> None:
    assert defined("def f(): pass\nclass G: pass\nx = 1\nasync def h(): pass") == ("f", "G", "h")
    assert defined("def f(") == ()


def test_a_check_is_python() -> None:
    ast.parse(separate("assert f(3) is None and not g(1) in {1: 2}").check, mode="eval")
