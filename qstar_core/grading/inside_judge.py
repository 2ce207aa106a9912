"""Judges what a generated program answered; runs in a sandbox in which no program ever runs.

A server: it reads requests from standard input and writes one JSON line for each, until standard
input ends. A request has the data set's own checks and the bytes that the program's sandbox gave
back. These are decoded strictly, into plain data of exact types, and the checks are evaluated on
them. So values can neither run anything nor change what stays for the next request. Values that
are too deep, or take the time of a verdict to decode, are the program's fault; a check that takes
too long or too much memory gets no verdict. The kernel ends a server that does not come back from
one operation, and who asked starts a new one.

This file is compiled by the grader and sent to a bare interpreter; nothing of qstar is there. The
interpreter is told in ``REQUEST``: ``limits`` of the server as (resource, bound), ``cpu_s``
seconds of processor time for a verdict, and ``modules`` that checks may name.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import importlib
import json
import marshal
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

SHOWN = 120
LENGTH_BYTES = 4
MAX_DEPTH = 200  # of a value; the runner writes half of that
GRACE_S = 2


class Malformed(Exception):
    """What came out of the program's sandbox is not what the runner there writes."""


class Raised(Exception):
    """A call of the program's function raised; the check that uses its value fails."""


class Unplain(Exception):
    """A check compares two values that are no plain data: that cannot be judged from outside."""


class Late(BaseException):
    """The time for one verdict is over; no check may catch it."""


class Other:
    """Stands for a value that is no plain data: equal to nothing, true if the program says so."""

    def __init__(self, name: str, truth: bool) -> None:
        self.name, self.truth = name, truth

    def __bool__(self) -> bool:
        return self.truth

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Other):
            raise Unplain
        return False

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.name}>"


def _text(value: Any) -> str:
    if type(value) is not str:
        raise Malformed("text expected")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise Malformed("number expected")
    return value


def _pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    for item in items:
        if type(item) is not tuple or len(item) != 2:
            raise Malformed("pair expected")
    return items


def _iterator(items: list[Any]) -> Any:
    return iter(items)


def _set(items: Iterable[Any]) -> set[Any]:
    """As ``set`` does, but the end of the time gets in between: items may collide on purpose."""
    found = set()
    for item in items:
        found.add(item)
    return found


def _fill(found: Any, pairs: Iterable[tuple[Any, Any]]) -> Any:
    """A mapping with some pairs; see `_set`."""
    for key, item in pairs:
        found[key] = item
    return found


TAKE_ONE: dict[str, Callable[[str], Any]] = {
    "int": lambda text: int(text, 16),
    "float": float.fromhex,
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "Decimal": decimal.Decimal,
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
    "time": datetime.time.fromisoformat,
}
TAKE_SEVERAL: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": _set,
    "frozenset": lambda items: frozenset(_set(items)),
    "deque": collections.deque,
    "iterator": _iterator,
    "dict": lambda items: _fill({}, _pairs(items)),
    "OrderedDict": lambda items: _fill(collections.OrderedDict(), _pairs(items)),
    "Counter": lambda items: _fill(collections.Counter(), _pairs(items)),
    "keys": lambda items: _fill({}, ((item, None) for item in items)).keys(),
    "items": lambda items: dict(enumerate(items)).values(),
    "pairs": lambda items: _fill({}, _pairs(items)).items(),
    "complex": lambda items: complex(*(float.fromhex(_text(item)) for item in items)),
    "range": lambda items: range(*map(_number, items)),
    "Fraction": lambda items: fractions.Fraction(*map(_number, items)),
    "timedelta": lambda items: datetime.timedelta(*map(_number, items)),
}


def decode(value: Any, depth: int = 0) -> Any:
    """The plain data of one value of the answer; see `inside_program.Encoder`.

    Raises:
        Malformed: it is none.
        Raised: the call raised.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is not list or not value or type(value[0]) is not str:
        raise Malformed("no value")
    if depth > MAX_DEPTH:
        raise Malformed(f"more than {MAX_DEPTH} levels")
    tag, *items = value
    try:
        if tag in TAKE_ONE:
            (only,) = items
            return TAKE_ONE[tag](_text(only))
        if tag == "raised":
            name, message = map(_text, items)
            raise Raised(f"{name}: {message}" if message else name)
        if tag == "other":
            name, truth = items
            return Other(_text(name), truth is True)
        return TAKE_SEVERAL[tag]([decode(item, depth + 1) for item in items])
    except (ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise Malformed(f"no value of type {tag[:20]!r}") from error


def shown(value: Any) -> str:
    """A value on one line, cut short."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _refuse_constant(name: str) -> None:
    raise Malformed(name)


def read(answer: bytes, wanted: int) -> list[Any]:
    """The values of an answer, not yet decoded.

    Raises:
        Malformed: it is no answer, or one with another number of values.
        Raised: the program stopped before its functions were called.
    """
    try:
        found = json.loads(
            answer.decode("ascii"),
            parse_constant=_refuse_constant,
            parse_float=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise Malformed("not the runner's JSON") from error
    if type(found) is not list or not found:
        raise Malformed("no list")
    if found[0] == "stopped" and len(found) == 4:
        part, name, message = map(_text, found[1:])
        raise Raised(f"the {part} raised {name}: {message}"[:400])
    if found[0] != "values" or len(found) != wanted + 1:
        raise Malformed(f"{wanted} values expected")
    return found[1:]


def judge(request: dict[str, Any], modules: dict[str, Any]) -> dict[str, str]:
    """The verdict on one answer: ``outcome`` and ``reason``.

    Args:
        request: ``imports`` (source), ``checks`` (source of an expression that gets the i-th value
            by ``value(i)``, and the test as it was written), ``calls`` (source), ``answer``.
        modules: what checks may name without importing it.
    """
    calls = request["calls"]
    try:
        values = read(request["answer"], len(calls))
    except Malformed as error:
        return _verdict("wrong", f"the program spoiled its answer ({error})")
    except Raised as error:
        return _verdict("wrong", str(error))
    space = dict(modules)
    exec(compile(request["imports"], "imports", "exec", dont_inherit=True), space)
    used: list[tuple[str, Any]] = []

    def value(place: int) -> Any:
        try:
            found = decode(values[place])
        except (Late, MemoryError) as error:
            raise Malformed("too much to read") from error
        used.append((calls[place], found))
        return found

    space["value"] = value
    for number, (check, test) in enumerate(request["checks"], start=1):
        used.clear()
        verdict = _checked(check, space, used)
        if verdict is not None:
            outcome, why = verdict
            return _verdict(outcome, f"test {number}, {test}: {why}")
    return _verdict("correct", "")


def _checked(
    check: str, space: dict[str, Any], used: list[tuple[str, Any]]
) -> tuple[str, str] | None:
    """None where the check holds; else outcome and reason."""
    try:
        if eval(compile(check, "check", "eval", dont_inherit=True), space):
            return None
    except Malformed as error:
        return "wrong", f"the program spoiled its answer ({error})"
    except Raised as error:
        return "wrong", f"raised {error}"
    except Unplain:
        return "grader_error", "compares two objects that are no plain data"
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # of the data set's own check, on data of a type it did not expect
        unplain = any(type(found) is Other for _, found in used)
        why = f"{type(error).__name__}: {error}"[:SHOWN]
        return (
            ("grader_error", f"needs an object that is no plain data, {why}")
            if unplain
            else (
                "wrong",
                why,
            )
        )
    return "wrong", "; ".join(f"{call} is {shown(found)}" for call, found in used)


def _verdict(outcome: str, reason: str) -> dict[str, str]:
    return {"outcome": outcome, "reason": reason}


def _late(number: int, frame: object) -> None:
    raise Late


def _limited(request: dict[str, Any], cpu_s: float, modules: dict[str, Any]) -> dict[str, str]:
    """The verdict, or that there is none within the time and memory of one."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + cpu_s) + GRACE_S
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        return judge(request, modules)
    except Late:
        said = f"the judge came to no verdict in {cpu_s:g} s of processor time"
        return _verdict("grader_error", said)
    except (MemoryError, RecursionError) as error:
        return _verdict("grader_error", f"the judge came to no verdict: {type(error).__name__}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main(setting: dict[str, Any]) -> None:
    """Serves requests until standard input ends."""
    source, out = sys.stdin.buffer, os.dup(1)
    os.dup2(2, 1)
    for kind, bound in setting["limits"]:
        resource.setrlimit(kind, (bound, bound))
    signal.signal(signal.SIGPROF, _late)
    modules = {name: importlib.import_module(name) for name in setting["modules"]}
    while length := source.read(LENGTH_BYTES):
        request = marshal.loads(source.read(int.from_bytes(length, "little")))
        verdict = json.dumps(_limited(request, setting["cpu_s"], modules)).encode() + b"\n"
        while verdict:
            verdict = verdict[os.write(out, verdict) :]


if __name__ == "__main__":
    main(globals()["REQUEST"])
