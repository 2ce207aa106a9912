r"""MBPP: short Python programs from a sentence and some tests (arXiv 2108.07732).

An action is 24 tokens of the program, as in Q* (arXiv 2406.14283, section 4.1); a newline ends
nothing. The prompt is the data set's own, without worked examples; the program follows it as it
is, or in a fence of three backticks, and a closing mark ends the solution::

    You are an expert Python programmer, and here is your task: Write a function to ... Your code
    should pass these tests:

    assert shared((3, 4), (4, 5)) == (4,)
    [BEGIN]
    def shared(a, b):                                            the policy writes from here
        return tuple(set(a) & set(b))
    [DONE]

A solution is right when its program passes *all* tests of the problem, shown or not; it runs in a
sandbox, and the verdict is reached outside of it (`qstar_core.grading.code`). The answer is the
program itself, so a vote counts programs that are equal character by character.

Where we depart from the paper:

1. R_P is -0.5 when the code so far does not tokenize. The paper does not say what it does with
   text that merely stops: here, what a later step may still mend is no failure. A line that is
   being written is not looked at, and a bracket or a string of three quotes may be open until a
   closing mark says that the program is complete.
2. The paper says nothing of tests in the prompt. Here the first one is shown, the others only if
   that is asked for (``domain.shown_tests``): a policy that sees a test can write its answer down.

There is no exact Q* here.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import tokenize
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from qstar_core.grading import Grade, Outcome, code, sandbox, sandbox_command
from qstar_core.keys import canonical_json
from qstar_core.mdp import Problem, Step

STEP_TOKENS = 24  # tokens of a step; see `qstar_core.policies.steps.step_rule`
MAX_STEPS = 32
BEFORE = "You are an expert Python programmer, and here is your task: "
SHOWN = " Your code should pass these tests:\n\n"
BEGIN, DONE = "[BEGIN]", "[DONE]"
FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[ \t]*$", re.MULTILINE)
BROKEN = -0.5  # R_P of code that does not tokenize
UNFINISHED = ("EOF", "unterminated triple-quoted")
"""In what Python's tokenizer says of text that stops inside of something."""

GRADER = "mbpp-sandbox"
GRADER_VERSION = "1"


def make_problem(text: str, tests: code.Suite, split: str, shown: int | None = 1) -> Problem:
    """The problem of a task.

    Args:
        text: the sentence that says what to write.
        tests: that a solution has to pass.
        split: ``"train"`` or ``"test"``.
        shown: how many of the tests the prompt shows, from the first; None is all.

    Raises:
        ValueError: the text is empty, or the tests cannot be run.
    """
    if not text.strip():
        raise ValueError("the text of the task is empty")
    code.plan(tests)
    reference = {
        "tests": list(tests.tests),
        "imports": tests.imports,
        "setup": tests.setup,
        "own": list(tests.own),
    }
    prompt = default_prompt(text, tests.tests[:shown])
    return Problem("mbpp", prompt, canonical_json(reference), split)


def default_prompt(text: str, tests: Sequence[str]) -> str:
    """The prompt of MBPP without worked examples.

    Args:
        text: of the task.
        tests: that are shown; there may be none.
    """
    return f"{BEFORE}{text.strip()}{_told(tests)}"


def _told(tests: Sequence[str]) -> str:
    """What follows the text of the task."""
    shown = "".join(f"{test.strip()}\n" for test in tests)
    return (f"{SHOWN}{shown}" if shown else "\n") + f"{BEGIN}\n"


def prompt_fields(problem: Problem) -> dict[str, object]:
    """What a template of prompts may use: the text of the task, and the tests that are shown.

    Args:
        problem: with the default prompt.
    """
    tests = tests_of(problem).tests
    ends = ((shown, _told(tests[:shown])) for shown in range(len(tests), -1, -1))
    shown, end = next(found for found in ends if problem.prompt.endswith(found[1]))
    question = problem.prompt.removeprefix(BEFORE).removesuffix(end)
    return {"question": question, "tests": [test.strip() for test in tests[:shown]]}


def tests_of(problem: Problem) -> code.Suite:
    """The tests that a solution has to pass."""
    return _tests(problem.reference)


@lru_cache(maxsize=4096)
def _tests(reference: str) -> code.Suite:
    found = json.loads(reference)
    return code.Suite(tuple(found["tests"]), found["imports"], found["setup"], tuple(found["own"]))


def max_steps(problem: Problem) -> int:
    """Steps of a solution at most."""
    return MAX_STEPS


def is_terminal(problem: Problem, steps: Sequence[Step]) -> bool:
    """Whether a solution is over: the text ended, a closing mark was written, or no room."""
    if not steps:
        return False
    if steps[-1].ended or len(steps) >= MAX_STEPS:
        return True
    return extract("".join(step.text for step in steps), _in_fence(problem))[1]


def answer(problem: Problem, steps: Sequence[str]) -> str:
    """The program of a solution; empty where there is none."""
    return extract("".join(steps), _in_fence(problem))[0].strip()


def grade(problem: Problem, steps: Sequence[str]) -> Grade:
    """Grades a solution: correct when its program passes all tests.

    Raises:
        UserError: there is no sandbox on this machine.
    """
    return grade_many([(problem, steps)])[0]


def grade_many(pairs: Sequence[tuple[Problem, Sequence[str]]]) -> list[Grade]:
    """The grades of many solutions in their order; equal ones are run once.

    Raises:
        UserError: there is no sandbox on this machine.
    """
    asked = [(extract("".join(steps), _in_fence(p))[0].strip(), tests_of(p)) for p, steps in pairs]
    distinct = list(dict.fromkeys(one for one in asked if one[0]))
    nothing = Grade(Outcome.NO_ANSWER, reason="no program")
    if len(distinct) < 2:
        found = [code.grade(*one) for one in distinct]
    else:
        with ThreadPoolExecutor(min(len(distinct), _at_once())) as threads:
            found = list(threads.map(lambda one: code.grade(*one), distinct))
    grades = dict(zip(distinct, found, strict=True))
    return [grades.get(one, nothing) for one in asked]


def _at_once() -> int:
    """Sandboxes at a time: two per core, since each waits for the system while it is set up."""
    return 2 * len(os.sched_getaffinity(0))


def check_machine() -> None:
    """Makes sure that solutions can be graded here.

    Raises:
        UserError: there is no sandbox on this machine; says how to install it.
    """
    if sandbox.current() == "bwrap":
        sandbox_command.check()


def rule_rewards(problem: Problem, steps: Sequence[str]) -> list[float]:
    """The rule-based process reward R_P: -0.5 where the code so far does not tokenize, else 0.

    The paper aggregates it with ``last``.
    """
    text, rewards = "", []
    for step in steps:
        text += step
        program, complete = extract(text, _in_fence(problem))
        rewards.append(0.0 if tokenizes(program, complete) else BROKEN)
    return rewards


def tokenizes(program: str, complete: bool) -> bool:
    """Whether Python's tokenizer takes a program.

    Args:
        program: Python source.
        complete: nothing follows; else a last line without its newline is left out, and what is
            open at the end may still be closed.
    """
    if not complete:
        program = program[: program.rfind("\n") + 1]
    try:
        tokens = tokenize.generate_tokens(io.StringIO(program).readline)
        return all(token.type != tokenize.ERRORTOKEN for token in tokens)
    except tokenize.TokenError as error:
        return not complete and any(word in str(error.args[0]) for word in UNFINISHED)
    except SyntaxError:  # an indentation that matches no outer one, or from 3.12 on anything
        return False


def extract(text: str, in_fence: bool = False) -> tuple[str, bool]:
    """The program of a solution, and whether a closing mark ends it.

    Args:
        text: the solution, as far as it goes.
        in_fence: the prompt has opened a fence.

    Returns:
        What stands before ``[DONE]``, there the content of the first fence, if there is one. A
        fence without a language that comes after code closes it instead of opening some.
    """
    text, mark, _ = text.replace("\r\n", "\n").partition(DONE)
    text, closed = text.rpartition(BEGIN)[2], bool(mark)
    fence = FENCE.search(text)
    if fence is None:
        return text, closed
    before = text[: fence.start()]
    if in_fence or (not fence[1] and _is_code(before)):
        return before, True
    inside = text[fence.end() :].removeprefix("\n")
    end = FENCE.search(inside)
    return (inside[: end.start()], True) if end is not None else (inside, closed)


def _in_fence(problem: Problem) -> bool:
    last = problem.prompt.rstrip().rpartition("\n")[2]
    return FENCE.fullmatch(last) is not None


def _is_code(text: str) -> bool:
    """Whether a text is Python that does something: a single word of prose is Python too."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in its texts
            body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(node, ast.Expr) for node in body)
