from __future__ import annotations

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from qstar_core.grading import Outcome, code, judge, sandbox
from qstar_core.grading.code import MAX_CHARACTERS, Suite, grade, plan
from qstar_core.grading.judge import Judge, JudgeFailed
from qstar_core.grading.sandbox import Limits

SUITE = Suite(("assert add(1, 2) == 3", "assert add('a', 'b') == 'ab'"))
RIGHT = "def add(a, b):\n    return a + b"
needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")


@pytest.fixture(params=[pytest.param("bwrap", marks=needs_bwrap), "rlimits"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(sandbox.MODE, request.param)
    return str(request.param)


@pytest.mark.parametrize(
    ("program", "outcome", "reason"),
    [
        (RIGHT, Outcome.CORRECT, ""),
        ("def add(a, b): return a - b", Outcome.WRONG, r"test 1, .*: add\(1, 2\) is -1"),
        ("def add(a, b): return 3", Outcome.WRONG, r"test 2, .*: add\('a', 'b'\) is 3"),
        ("def add(a, b): return undefined", Outcome.WRONG, "raised NameError"),
        ("def sub(a, b): return a - b", Outcome.WRONG, "raised NameError: name 'add'"),
        ("def add(a, b)", Outcome.WRONG, "the program raised SyntaxError"),
        ("import nothing_like_it", Outcome.WRONG, "ModuleNotFoundError"),
        ("", Outcome.NO_ANSWER, "no program"),
        (" \n\n", Outcome.NO_ANSWER, "no program"),
        ("#" * (MAX_CHARACTERS + 1), Outcome.WRONG, "characters"),
        ("def add(a, b):\n    while True: pass", Outcome.TIMEOUT, "not done within 1 s"),
    ],
)  # fmt: skip
def test_outcomes(mode: str, program: str, outcome: Outcome, reason: str) -> None:
    found = grade(program, SUITE, Limits(cpu_s=1))
    assert found.outcome is outcome, found.reason
    assert re.search(reason, found.reason)
    assert found.answer == (program[:MAX_CHARACTERS] if program.strip() else "")


HARM = {
    "write": "open('{place}', 'w')",
    "create": "import os\nos.open('{place}', os.O_RDONLY | os.O_CREAT)",
    "remove": "import os\nos.unlink('{kept}')",
    "rename": "import os\nos.rename('{kept}', '{place}')",
    "truncate": "import os\nos.truncate('{kept}', 0)",
    "append": "open('{kept}', 'a')",
    "mode": "import os\nos.chmod('{kept}', 0)",
    "folder": "import os\nos.mkdir('{place}')",
    "link": "import os\nos.symlink('{kept}', '{place}')",
    "kill": "import os\nos.kill({pid}, 0)",
    "fork": "import os\nos.fork()",
    "exec": "import os\nos.execv('/bin/true', ['true'])",
    "socket": "import socket\nsocket.socket()",
    "limits of others": "import resource\nresource.prlimit({pid}, resource.RLIMIT_CORE)",
}


@pytest.mark.parametrize("name", HARM)
def test_the_weaker_mode_changes_nothing_and_reaches_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv(sandbox.MODE, "rlimits")
    kept = tmp_path / "kept"
    kept.write_text("kept")
    mode = kept.stat().st_mode
    told = HARM[name].format(place=tmp_path / "new", kept=kept, pid=os.getpid())
    found = grade(f"{told}\n{RIGHT}", SUITE)
    assert found.outcome is Outcome.WRONG
    assert "PermissionError" in found.reason, found.reason
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text() == "kept" and kept.stat().st_mode == mode


def test_set_up_comes_before_the_program_unless_it_needs_it() -> None:
    early = plan(Suite(("assert f() == 1",), "import math", "LIMIT = 3"))
    assert early.before == "import math\nLIMIT = 3" and early.after == ""
    late = plan(Suite(("assert f(root) == 1",), "", "root = Node(1)"))
    assert late.after == "root = Node(1)" and late.calls == ("f(root)",)


def test_imports_in_the_set_up_hold_for_the_tests() -> None:
    found = plan(Suite(("assert isclose(f(), 1)",), "", "from math import isclose"))
    assert found.calls == ("f()",) and "isclose" in found.imports


@pytest.mark.parametrize(
    ("suite", "why"),
    [
        (Suite(()), "no tests"),
        (Suite(("assert f() == 1", "f()")), "test 2: not a single assert"),
        (Suite(("assert f() == 1",), "x = 1"), "more than import statements"),
        (Suite(("assert f() == 1",), "", "x ="), "the setup is no Python"),
        (Suite(("assert f() == 1",), "import", ""), "the imports is no Python"),
    ],
)
def test_tests_that_cannot_be_run_are_refused(suite: Suite, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        plan(suite)
    found = grade(RIGHT, suite)
    assert found.outcome is Outcome.GRADER_ERROR and why in found.reason


class Broken(Judge):
    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures, self.asked = failures, 0

    def ask(self, request: Any) -> dict[str, str]:
        self.asked += 1
        if self.asked <= self.failures:
            raise JudgeFailed("the judge failed")
        return super().ask(request)


@needs_bwrap
@pytest.mark.parametrize(("failures", "outcome"), [(1, "correct"), (2, "grader_error")])
def test_a_judge_that_fails_is_never_a_wrong_answer(
    monkeypatch: pytest.MonkeyPatch, failures: int, outcome: str
) -> None:
    broken = Broken(failures)
    monkeypatch.setattr(code, "JUDGE", broken)
    try:
        assert grade(RIGHT, SUITE).outcome == outcome
    finally:
        broken.close()


@needs_bwrap
def test_a_judge_that_was_killed_is_started_again() -> None:
    own = Judge()
    request = {"imports": "", "calls": [], "checks": [("True", "t")], "answer": b'["values"]'}
    try:
        assert own.ask(request)["outcome"] == "correct"
        process = own._process
        assert process is not None and process.stdout is not None
        sandbox.kill(process)
        assert not process.stdout.read()  # all that were in the sandbox are gone
        with pytest.raises(JudgeFailed):
            own.ask(request)
        assert own.ask(request)["outcome"] == "correct"
    finally:
        own.close()


@needs_bwrap
@pytest.mark.parametrize(
    ("check", "why"),
    [
        ("sum(iter(int, 1))", "process ended"),  # no signal handler gets in there
        ("[0 for _ in iter(int, 1)]", "no verdict"),
        ("[0] * 10 ** 10", "MemoryError"),
    ],
)
def test_a_check_that_hangs_or_grows_is_the_graders_error(
    monkeypatch: pytest.MonkeyPatch, check: str, why: str
) -> None:
    monkeypatch.setattr(judge, "CPU_S", 1.0)
    own = Judge()
    request = {"imports": "", "calls": [], "answer": b'["values"]'}
    try:
        try:
            verdict = own.ask({**request, "checks": [(check, "t")]})
        except JudgeFailed as error:
            verdict = {"outcome": "grader_error", "reason": str(error)}
        assert verdict["outcome"] == "grader_error" and why in verdict["reason"]
        assert own.ask({**request, "checks": [("True", "t")]})["outcome"] == "correct"
    finally:
        own.close()


@needs_bwrap
def test_a_judge_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Judge()
    request = {"imports": "", "calls": [], "answer": b'["values"]'}
    try:
        assert own.ask({**request, "checks": [("True", "t")]})["outcome"] == "correct"
        process = own._process
        assert process is not None
        monkeypatch.setattr(judge, "ANSWER_S", 0.5)
        with pytest.raises(JudgeFailed, match="no verdict in"):
            own.ask({**request, "checks": [("sum(iter(int, 1))", "t")]})
        assert process.poll() is not None
    finally:
        own.close()


@needs_bwrap
def test_a_fork_has_a_judge_of_its_own() -> None:
    assert grade(RIGHT, SUITE).outcome is Outcome.CORRECT
    pid = os.fork()
    if pid == 0:
        os._exit(0 if code.JUDGE._process is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert grade(RIGHT, SUITE).outcome is Outcome.CORRECT


@needs_bwrap
def test_many_threads_share_a_judge_and_get_their_own_verdicts() -> None:
    programs = [f"def add(a, b): return a + b if {n} % 2 else {n}" for n in range(12)]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda text: grade(text, SUITE), programs))
    assert [one.outcome for one in found] == [
        Outcome.CORRECT if n % 2 else Outcome.WRONG for n in range(12)
    ]


@needs_bwrap
def test_the_order_of_sets_is_the_same_each_time() -> None:
    program = "def add(a, b): return list({str(i) for i in range(50)})"
    assert len({grade(program, SUITE).reason for _ in range(3)}) == 1
