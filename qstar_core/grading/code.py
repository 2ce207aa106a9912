"""Is a program right? It runs in a sandbox, and the verdict is reached outside of it.

Two processes that share nothing. The first runs the program and the calls of its functions that
the tests make, and sends the values of these back as plain data. It knows no right answer and
gives no verdict, so a program that ends early, patches what it finds, or looks through every
frame and object around it gains nothing. The second never runs the program: it takes the values
apart and evaluates the tests on them (docs/adr/0010).

The grader is the program's own limits and these two steps. ``wrong`` is said of a program that
ended and failed a test; one that was killed for its time is ``timeout``; where the sandbox or the
judge failed, the grade is ``grader_error``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from qstar_core.grading import Grade, Outcome, sandbox
from qstar_core.grading.inside_program import READY
from qstar_core.grading.judge import JUDGE, JudgeFailed
from qstar_core.grading.sandbox import Limits
from qstar_core.grading.separate import imported, needs_program, separate

LIMITS = Limits()
MAX_CHARACTERS = 100_000
"""Of a program; what is longer is not run."""
MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Suite:
    """What a program has to pass.

    Attributes:
        tests: sources, each a single ``assert``.
        imports: import statements that come before the program, and hold for the tests.
        setup: code that runs before the program, or after it where it uses what that defines.
        own: names of the program that shadow builtins, such as a function called ``sum``.
    """

    tests: tuple[str, ...]
    imports: str = ""
    setup: str = ""
    own: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A `Suite` taken apart; see `qstar_core.grading.separate`.

    Attributes:
        before: code that runs before the program.
        after: code that runs after it.
        imports: import statements for the checks.
        calls: expressions for the program's process, of all tests.
        checks: one per test: an expression over the values of the calls, and the test as written.
    """

    before: str
    after: str
    imports: str
    calls: tuple[str, ...]
    checks: tuple[tuple[str, str], ...]


@lru_cache(maxsize=4096)
def plan(tests: Suite) -> Plan:
    """Takes tests apart.

    Raises:
        ValueError: there are none, or they cannot be judged apart from the program; says which.
    """
    if not tests.tests:
        raise ValueError("no tests")
    code = {"imports": tests.imports, "setup": tests.setup}
    for part, text in code.items():
        try:
            compile(text, part, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"the {part} is no Python: {error}") from error
    names = imported(tests.imports)
    if names is None:
        raise ValueError("the imports hold more than import statements")
    imports, in_setup = tests.imports, imported(tests.setup)
    if in_setup is not None:
        names, imports = (*names, *in_setup), f"{imports}\n{tests.setup}"
    calls: list[str] = []
    checks = []
    for number, test in enumerate(tests.tests, start=1):
        try:
            parts = separate(test, names, tests.own, len(calls))
        except ValueError as error:
            raise ValueError(f"test {number}: {error}") from error
        calls += parts.calls
        checks.append((parts.check, " ".join(test.split())))
    late = bool(tests.setup) and needs_program(tests.setup)
    before = tests.imports if late else f"{tests.imports}\n{tests.setup}"
    after = tests.setup if late else ""
    return Plan(before, after, imports, tuple(calls), tuple(checks))


def grade(program: str, tests: Suite, limits: Limits = LIMITS) -> Grade:
    """Grades a program by its tests.

    Args:
        program: Python source, without tests.
        tests: that it has to pass, all of them.
        limits: of its process.

    Returns:
        A grade whose ``answer`` is the program.

    Raises:
        UserError: there is no sandbox on this machine.
    """
    if not program.strip():
        return Grade(Outcome.NO_ANSWER, reason="no program")
    if len(program) > MAX_CHARACTERS:
        reason = f"a program of {len(program):,} characters; {MAX_CHARACTERS:,} are allowed"
        return Grade(Outcome.WRONG, program[:MAX_CHARACTERS], reason)
    try:
        asked = plan(tests)
    except ValueError as error:
        return Grade(
            Outcome.GRADER_ERROR, program, f"the tests cannot be run: {error}"[:MAX_REASON]
        )
    outcome, reason = _outcome(program, asked, limits)
    return Grade(outcome, program, _printable(reason))


def _outcome(program: str, asked: Plan, limits: Limits) -> tuple[Outcome, str]:
    parts = [("set-up", asked.before), ("program", program), ("set-up after it", asked.after)]
    request = {"parts": [part for part in parts if part[1].strip()], "calls": list(asked.calls)}
    try:
        ended = sandbox.run("inside_program", request, limits)
    except OSError as error:
        return Outcome.GRADER_ERROR, f"the sandbox could not be started: {error}"
    if not ended.answer.startswith(READY):
        if ended.timeout:
            return Outcome.GRADER_ERROR, "the sandbox did not start in time"
        return Outcome.GRADER_ERROR, f"the sandbox did not start: {ended.trouble}"
    if ended.timeout:
        said = f"{limits.cpu_s} s of processor time or {limits.wall_s:.0f} s on the clock"
        return Outcome.TIMEOUT, f"not done within {said}"
    if ended.overflow:
        return Outcome.WRONG, f"answers more than {limits.answer_bytes:,} bytes"
    if ended.code in sandbox.KILLED:
        return Outcome.GRADER_ERROR, "killed by nobody knows whom, such as the system out of memory"
    if ended.code:
        return Outcome.WRONG, f"the program's process ended with exit code {ended.code}"
    return _judged(asked, ended.answer.removeprefix(READY))


def _judged(asked: Plan, answer: bytes) -> tuple[Outcome, str]:
    request = {
        "imports": asked.imports,
        "checks": list(asked.checks),
        "calls": list(asked.calls),
        "answer": answer,
    }
    try:
        verdict = JUDGE.ask(request)
    except JudgeFailed:
        try:
            verdict = JUDGE.ask(request)  # of a new server
        except JudgeFailed as error:
            return Outcome.GRADER_ERROR, str(error)
    return Outcome(verdict["outcome"]), verdict["reason"]


def _printable(reason: str) -> str:
    """A reason on one line: parts of it are the program's own words."""
    cut: Sequence[str] = reason[:MAX_REASON]
    return "".join(c if c.isprintable() else " " for c in cut)
