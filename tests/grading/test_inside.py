"""Both ends of what crosses between sandboxes: `inside_program` writes, `inside_judge` reads."""

from __future__ import annotations

import collections
import datetime
import json
from contextlib import suppress
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.grading import inside_judge
from qstar_core.grading.inside_judge import Malformed, Other, Raised, decode, judge, read
from qstar_core.grading.inside_program import MAX_ITEMS, Encoder, TooMuch, run

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.timedeltas(),
)
HASHABLE = st.one_of(
    st.none(), st.integers(), st.text(), st.binary(), st.tuples(st.integers(), st.text())
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.sets(HASHABLE),
        st.frozensets(HASHABLE),
        st.dictionaries(HASHABLE, inner),
        st.lists(inner).map(collections.deque),
    ),
    max_leaves=12,
)


def crossed(value: Any) -> Any:
    text = Encoder().encode(value)
    assert text.isascii()
    return decode(json.loads(text))


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(a) is not type(b) or a != b:
        return False
    if isinstance(a, list | tuple | collections.deque):
        return all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return all(same(x, b[k]) for k, x in a.items()) and list(a) == list(b)
    return True


@given(PLAIN)
def test_plain_data_crosses_with_its_exact_types(value: Any) -> None:
    assert same(crossed(value), value)


@pytest.mark.parametrize(
    "value",
    [
        10**4000,
        -(2**53),
        1e308,
        float("inf"),
        -0.0,
        range(3, 9, 2),
        bytearray(b"xy"),
        collections.Counter("abca"),
        collections.OrderedDict([(2, 1), (1, 2)]),
        Decimal("1.20"),
        Fraction(3, 9),
        datetime.timedelta(days=-1, microseconds=3),
        "\ud800\x00'\"",
        {1: [(), {}, set()]},
    ],
)
def test_special_values_cross(value: Any) -> None:
    found = crossed(value)
    assert found == value and type(found) is type(value)
    assert str(found) == str(value) if not isinstance(value, int) else True


class Point(NamedTuple):
    x: int
    y: int


class Colour(IntEnum):
    RED = 1


class Lying(str):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Point(1, 2), (1, 2)),
        (Colour.RED, 1),
        (Lying("x"), "x"),
        (collections.defaultdict(list, {1: [2]}), {1: [2]}),
    ],
)
def test_a_subclass_crosses_as_its_content(value: Any, plain: Any) -> None:
    found = crossed(value)
    assert type(found) is type(plain) and found == plain


def test_views_and_iterators_cross_as_what_they_give() -> None:
    mapping = {1: "a", 2: "b"}
    assert crossed(mapping.keys()) == mapping.keys()
    assert list(crossed(mapping.values())) == ["a", "b"]
    assert crossed(mapping.items()) == mapping.items()
    assert list(crossed(x * x for x in range(3))) == [0, 1, 4]
    assert crossed(map(str, [1])) != ["1"]
    assert list(crossed(zip([1], [2], strict=True))) == [(1, 2)]
    assert crossed(float("nan")) != crossed(float("nan"))


def test_objects_cross_as_their_name_alone() -> None:
    found = crossed(object())
    assert type(found) is Other and found != object() and bool(found)
    assert crossed(len) != len
    assert crossed([1, object()]) != [1, 2]


def test_what_takes_too_long_to_read_is_the_programs_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(value: Any) -> Any:
        raise inside_judge.Late

    monkeypatch.setattr(inside_judge, "decode", late)
    found = answered("value(0) == 4", 4)
    assert found["outcome"] == "wrong" and "too much to read" in found["reason"]


def test_what_is_too_deep_or_too_large_does_not_cross() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in (endless, [0] * (MAX_ITEMS + 1)):
        with pytest.raises(TooMuch):
            Encoder().encode(value)
    deep: list[Any] = ["list", 1]
    for _ in range(inside_judge.MAX_DEPTH):
        deep = ["list", deep]
    assert type(decode(deep)) is list
    with pytest.raises(Malformed, match="levels"):
        decode(["list", deep])


TAGS = [*inside_judge.TAKE_ONE, *inside_judge.TAKE_SEVERAL, "other", "raised"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(st.one_of(inner, st.sampled_from(TAGS))),
    max_leaves=20,
)


@given(JSON)
def test_whatever_comes_is_data_or_malformed(value: Any) -> None:
    with suppress(Malformed, Raised):
        decode(value)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_get_a_verdict_and_none_is_correct(answer: bytes) -> None:
    request = {
        "imports": "",
        "calls": ["f(3)", "g(3)"],
        "checks": [("value(0) == 'horse battery'", "a"), ("value(1) == 4", "b")],
        "answer": answer,
    }
    assert judge(request, {})["outcome"] in ("wrong", "grader_error")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b'["values"]',
        b'["values", 1, 2]',
        b'["values", 1.5]',
        b'["values", NaN]',
        b"[" * 100_000,
        b'["stopped", "program", "E"]',
        b"\xff",
        b'["values", ' + b"9" * 5000 + b"]",
    ],
)
def test_an_answer_of_another_form_is_malformed(answer: bytes) -> None:
    with pytest.raises(Malformed):
        read(answer, 1)


def answered(check: str, *values: Any) -> dict[str, str]:
    written = [Encoder().encode(value) for value in values]
    answer = "[" + ",".join(['"values"', *written]) + "]"
    calls = [f"f({place})" for place in range(len(values))]
    request = {"imports": "", "calls": calls, "checks": [(check, "t")], "answer": answer.encode()}
    return judge(request, {})


def test_reasons_say_what_was_found() -> None:
    assert answered("value(0) == 4", 5)["reason"] == "test 1, t: f(0) is 5"
    assert answered("value(0) < 4", "x")["reason"].startswith("test 1, t: TypeError")
    assert "very large int" in answered("value(0) == 4", 10**9000)["reason"]
    assert len(answered("value(0) == 4", "x" * 10**5)["reason"]) < 300


def test_objects_are_judged_by_truth_and_never_by_themselves() -> None:
    class Yes:
        def __eq__(self, other: object) -> bool:
            return True

        def __len__(self) -> int:
            return 3

        __hash__ = None  # type: ignore[assignment]

    assert answered("value(0)", Yes())["outcome"] == "correct"
    assert answered("value(0) is not None", Yes())["outcome"] == "correct"
    assert answered("value(0) == 4", Yes())["outcome"] == "wrong"
    assert answered("value(0) == value(1)", Yes(), Yes())["outcome"] == "grader_error"
    assert answered("len(value(0)) == 3", Yes())["outcome"] == "grader_error"


def test_the_runner_answers_for_what_it_runs() -> None:
    request = {"parts": [("program", "def f(x): return x / 0 if x else {1: (2,)}")], "calls": []}
    assert run(request) == '["values"]'
    values = json.loads(run({**request, "calls": ["f(0)", "f(1)", "h()"]}))[1:]
    assert decode(values[0]) == {1: (2,)}
    for value, name in zip(values[1:], ("ZeroDivisionError", "NameError"), strict=True):
        with pytest.raises(Raised, match=name):
            decode(value)
    stopped = run({"parts": [("set-up", "import nothing_of_that_name")], "calls": ["f(0)"]})
    with pytest.raises(Raised, match="the set-up raised ModuleNotFoundError"):
        read(stopped.encode(), 1)


def test_a_program_is_no_script_and_inherits_nothing() -> None:
    program = "ran = __name__ == '__main__'"
    assert json.loads(run({"parts": [("program", program)], "calls": ["ran"]})) == ["values", False]
    with_annotation = "def f(x: undefined): pass"
    answer = run({"parts": [("program", with_annotation)], "calls": []})
    assert "NameError" in answer  # the runner's own __future__ import does not hold here
