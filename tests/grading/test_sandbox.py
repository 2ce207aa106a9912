from __future__ import annotations

import os
import platform
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qstar_core.errors import UserError
from qstar_core.grading import Grade, Outcome, judge, sandbox, sandbox_command, sandbox_filter
from qstar_core.grading.code import Suite, grade
from qstar_core.grading.judge import JUDGE
from qstar_core.grading.sandbox import Limits
from tests.grading.hostile import BOMBS, CHEATS, PROBES, SOLUTION, TESTS, TRY

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")
HOSTILE = Suite(TESTS)
HONEST = Suite(("assert leaks() == []",))
MARK = "QSTAR_TEST_MARK"
AT_ONCE = 4
GONE_S = 60.0


@pytest.fixture(scope="module")
def marked() -> Iterator[str]:
    """Sandboxes of this module have a mark in their environment, by which they are found."""
    mark = uuid.uuid4().hex
    patch = pytest.MonkeyPatch()
    patch.setattr(judge, "CPU_S", 1.0)
    JUDGE.close()
    grade(SOLUTION, HOSTILE)  # the judge is started without the mark
    patch.setattr(sandbox_command, "ENVIRONMENT", {**sandbox_command.ENVIRONMENT, "LC_CTYPE": mark})
    patch.setenv("API_SECRET", "SECRET " + mark)
    yield mark
    patch.undo()
    JUDGE.close()


def with_mark(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


@pytest.fixture(scope="module")
def verdicts(marked: str) -> dict[str, Grade]:
    limits = Limits(cpu_s=3, wall_s=20.0)
    programs = {**CHEATS, **BOMBS}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        grades = threads.map(lambda text: grade(text, HOSTILE, limits), programs.values())
    return dict(zip(programs, grades, strict=True))


def test_a_right_program_is_correct(marked: str) -> None:
    assert grade(SOLUTION, HOSTILE).outcome is Outcome.CORRECT


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_fails(verdicts: dict[str, Grade], name: str) -> None:
    found = verdicts[name]
    assert found.outcome is Outcome.WRONG, found.reason
    assert found.reason.isprintable()


@pytest.mark.parametrize("name", BOMBS)
def test_what_does_not_end_is_a_timeout(verdicts: dict[str, Grade], name: str) -> None:
    assert verdicts[name].outcome is Outcome.TIMEOUT, verdicts[name].reason


def test_no_process_is_left(marked: str, verdicts: dict[str, Grade]) -> None:
    until = time.monotonic() + GONE_S
    while with_mark(marked) and time.monotonic() < until:
        time.sleep(0.05)
    assert with_mark(marked) == []


SYSTEM_CALLS = {
    name: (number, 0, 0, 0, 0, 0)
    for table in (sandbox_filter.REFUSED, sandbox_filter.PROCESSES)
    for name, number in table.get(platform.machine(), {}).items()
} | {name: (number, 0, 0, 0, 0, 0) for name, number in sandbox_filter.SAME_EVERYWHERE.items()}


@pytest.mark.parametrize("name", PROBES)
def test_there_is_no_way_out(marked: str, tmp_path: Path, name: str) -> None:
    secret = Path.home() / f".qstar-test-{marked}"
    secret.write_text("SECRET")
    (tmp_path / "secret").write_text("SECRET")
    try:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            given = {
                "PLACES": [str(secret), str(tmp_path / "secret"), __file__],
                "PORT": listening.getsockname()[1],
                "PARENT": os.getpid(),
                "CALLS": SYSTEM_CALLS,
            }
            told = "".join(f"{key} = {value!r}\n" for key, value in given.items())
            found = grade(told + TRY + PROBES[name], HONEST)
            listening.settimeout(0.01)
            with pytest.raises(TimeoutError):
                listening.accept()
    finally:
        secret.unlink()
    assert found.outcome is Outcome.CORRECT, found.reason


def test_the_probes_see_what_they_look_for_outside_of_the_sandbox(tmp_path: Path) -> None:
    given = f"PLACES = [{str(tmp_path)!r}]\n"
    for name in ("files of the system", "environment", "name of the machine"):
        space: dict[str, object] = {}
        exec(given + TRY + PROBES[name], space)
        assert space["found"], name


def test_the_machine_goes_on_answering_while_bombs_go_off(marked: str) -> None:
    limits = Limits(cpu_s=2, wall_s=20.0)
    bombs = [BOMBS["endless loop deaf to signals"], CHEATS["memory bomb"], BOMBS["endless output"]]
    with ThreadPoolExecutor(len(bombs)) as threads:
        going = [threads.submit(grade, bomb, HOSTILE, limits) for bomb in bombs]
        assert grade(SOLUTION, HOSTILE).outcome is Outcome.CORRECT
        assert all(one.result().outcome is not Outcome.CORRECT for one in going)


def test_the_answer_is_cut_at_its_limit() -> None:
    limits = Limits(answer_bytes=1000)
    request = {"parts": [("program", "x = 'y' * 5000")], "calls": ["x"]}
    ended = sandbox.run("inside_program", request, limits)
    assert ended.overflow and len(ended.answer) <= 1000


@pytest.fixture()
def afresh() -> Iterator[None]:
    sandbox_command.check.cache_clear()
    sandbox_command.confined.cache_clear()
    yield
    sandbox_command.check.cache_clear()
    sandbox_command.confined.cache_clear()


def test_without_bubblewrap_nothing_is_run(
    monkeypatch: pytest.MonkeyPatch, afresh: None, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="bubblewrap") as caught:
        grade(SOLUTION, HOSTILE)
    assert "apt-get install bubblewrap" in caught.value.next_step
    assert "runtime.sandbox=rlimits" in caught.value.next_step


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("bwrap: No permissions to create new namespace", "user namespaces"),
        ("bwrap: Unknown option --size", "bubblewrap 0.7"),
    ],
)
def test_a_bubblewrap_that_cannot_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, afresh: None, tmp_path: Path, said: str, advice: str
) -> None:
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UserError, match=said) as caught:
        grade(SOLUTION, HOSTILE)
    assert advice in caught.value.next_step


def test_a_sandbox_that_breaks_later_is_the_graders_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sandbox_command.check()
    monkeypatch.setattr(sandbox_command, "confined", lambda: ("/bin/false",))
    found = grade(SOLUTION, HOSTILE)
    assert found.outcome is Outcome.GRADER_ERROR and "did not start" in found.reason


def test_an_unknown_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sandbox.MODE, "none")
    with pytest.raises(UserError, match="'none' is no sandbox"):
        grade(SOLUTION, HOSTILE)


def test_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(UserError, match="no system call filter for riscv64"):
        sandbox_filter.assemble()
