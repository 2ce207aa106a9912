"""Runs a generated program and some calls of its functions; runs *inside* the sandbox.

This file is compiled by the grader and sent to a bare interpreter; nothing of qstar is there. Its
process belongs to the program: whatever the program does to it, all that leaves it is one byte
before the program starts and then bytes that `qstar_core.grading.inside_judge` reads as plain
data. No right answer is known here, so there is nothing to steal and no verdict to forge.

The answer is JSON: ``["stopped", part, type, message]`` where the program or its set-up raised,
else ``["values", v, ...]`` with one value per call; `Encoder` says how values are written. What is
to be done comes as ``REQUEST``: ``parts`` (name, source) to execute, ``calls`` to evaluate,
``limits`` as (resource, bound), and the ``filter`` to apply, empty where the sandbox has one.
"""

from __future__ import annotations

import posix
import resource
import sys
from _json import encode_basestring_ascii as quote

TYPE_CHECKING = False  # as typing has it; importing that takes as long as most programs run
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

READY = b"!"
MAX_DEPTH = 100
MAX_ITEMS = 200_000
MAX_MESSAGE = 300
PLAIN_INT = 2**53
SEQUENCES = (list, tuple, set, frozenset)
BASES = (int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset)
VIEWS = {type({}.keys()): "keys", type({}.values()): "items", type({}.items()): "pairs"}
DATES = ("date", "datetime", "time")


class TooMuch(Exception):
    """A value that is too deep or too large to leave."""


class Encoder:
    """Writes values as JSON: plain data with its exact type, everything else by name.

    null, true, false, texts and small integers are themselves; else ``[type, ...]``. A value of a
    subclass of a plain type is written as its content, without what the subclass adds. An
    iterator is written as what it gives.
    """

    def __init__(self) -> None:
        self.items = 0

    def encode(self, value: Any, depth: int = 0) -> str:
        """The JSON of one value."""
        self.items += 1
        if depth > MAX_DEPTH or self.items > MAX_ITEMS:
            raise TooMuch(f"a value of more than {MAX_DEPTH} levels or {MAX_ITEMS} items")
        kind = type(value)
        if value is None or kind is bool:
            return {None: "null", True: "true", False: "false"}[value]
        if kind not in BASES:
            named = self._named(value, kind, depth)
            if named is not None:
                return named
            kind = next((base for base in BASES if base in kind.__mro__), kind)
        if kind in SEQUENCES:
            return self._several(kind.__name__, kind.__iter__(value), depth)
        if kind is dict:
            return self._several("dict", dict.items(value), depth)
        return self._one(value, kind)

    def _one(self, value: Any, kind: Any) -> str:
        if kind is int:
            exact = int.__pos__(value)
            return repr(exact) if -PLAIN_INT < exact < PLAIN_INT else f'["int","{exact:x}"]'
        if kind is str:
            return quote(str.__str__(value))
        if kind is float:
            return f'["float","{float.hex(value)}"]'
        if kind is complex:
            number = complex.__pos__(value)
            return f'["complex","{number.real.hex()}","{number.imag.hex()}"]'
        if kind in (bytes, bytearray):
            return f'["{kind.__name__}","{kind.hex(value)}"]'
        return f'["other",{quote(type(value).__name__[:80])},{"true" if value else "false"}]'

    def _several(self, name: str, items: Iterable[Any], depth: int) -> str:
        inner = [self.encode(item, depth + 1) for item in items]
        return "[" + ",".join([quote(name), *inner]) + "]"

    def _named(self, value: Any, kind: Any, depth: int) -> str | None:
        """What has a type of its own in the standard library, if it is one that is known here."""
        name, module = kind.__name__, kind.__module__
        if module == "collections" and name in ("Counter", "OrderedDict", "deque"):
            items = kind.__iter__(value) if name == "deque" else dict.items(value)
            return self._several(name, items, depth)
        if kind is range:
            return self._several("range", (value.start, value.stop, value.step), depth)
        if kind in VIEWS:
            return self._several(VIEWS[kind], iter(value), depth)
        if module == "decimal" and name == "Decimal":
            return self._several(name, (str(value),), depth)
        if module == "fractions" and name == "Fraction":
            return self._several(name, (value.numerator, value.denominator), depth)
        if module == "datetime" and name in DATES:
            return self._several(name, (value.isoformat(),), depth)
        if module == "datetime" and name == "timedelta":
            return self._several(name, (value.days, value.seconds, value.microseconds), depth)
        if hasattr(kind, "__next__"):
            return self._several("iterator", self._limited(value), depth)
        return None

    def _limited(self, value: Any) -> Iterator[Any]:
        for item in value:
            if self.items > MAX_ITEMS:
                raise TooMuch(f"an iterator of more than {MAX_ITEMS} items")
            yield item


def described(error: BaseException) -> str:
    """Type and message of an exception, quoted."""
    try:
        message = str(error)[:MAX_MESSAGE]
    except BaseException:  # a message of the program's own may do anything
        message = ""
    return f"{quote(type(error).__name__[:80])},{quote(message)}"


def run(request: dict[str, Any]) -> str:
    """Executes the parts and evaluates the calls; the answer."""
    module = type(sys)("program")
    sys.modules["program"] = module
    space = module.__dict__
    for part, source in request["parts"]:
        try:
            exec(compile(source, part, "exec", dont_inherit=True), space)
        except BaseException as error:  # SystemExit and the like are the program's own too
            return f'["stopped",{quote(part)},{described(error)}]'
    values = []
    for source in request["calls"]:
        try:
            call = compile(source, "call", "eval", dont_inherit=True)
            values.append(Encoder().encode(eval(call, space)))
        except BaseException as error:
            values.append(f'["raised",{described(error)}]')
    return "[" + ",".join(['"values"', *values]) + "]"


def confine(limits: list[tuple[int, int]], program: bytes) -> None:
    """Sets the limits of this process, and the filter where no sandbox has set it."""
    for kind, bound in limits:
        resource.setrlimit(kind, (bound, bound))
    if not program:
        return
    import ctypes

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    asked = Program(len(program) // 8, program)
    no_new_privileges, seccomp, mode_filter = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(
        seccomp, mode_filter, ctypes.byref(asked), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


def main(request: dict[str, Any]) -> None:
    """Answers the request on standard output and ends the process."""
    out = posix.dup(1)
    nothing = posix.open("/dev/null", posix.O_RDWR)
    confine(request["limits"], request["filter"])
    for descriptor in (0, 1, 2):
        posix.dup2(nothing, descriptor)
    posix.close(nothing)
    posix.write(out, READY)
    answer = run(request).encode("ascii")
    while answer:
        answer = answer[posix.write(out, answer) :]
    posix._exit(0)


if __name__ == "__main__":
    main(globals()["REQUEST"])
