"""The pool with real workers; what hangs and what crashes them are texts, as in a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qstar_core.errors import UserError
from qstar_core.grading import math_pool
from qstar_core.grading.math_pool import Pool
from qstar_core.grading.math_worker import DIFFERENT, EQUAL, ERROR, TIMEOUT, UNREAD
from tests.processes import ended, wait_until

HANGS = "10^{10^{10}}"


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    found = Pool(size=2, cpu_s=2.0)
    yield found
    found.close()


def test_findings_keep_the_order(pool: Pool) -> None:
    pairs = [("x + 1", "1 + x"), ("2", "3"), (r"\frac{1}{2}", "0.5"), ("((", "2"), ("1", "1")]
    found = pool.compare(pairs * 5)
    assert [finding.kind for finding in found] == [EQUAL, DIFFERENT, EQUAL, UNREAD, EQUAL] * 5
    assert len(pool.pids()) <= 2


def test_nothing_to_compare_is_nothing(pool: Pool) -> None:
    assert pool.compare([]) == []


def test_what_hangs_is_a_timeout_and_harms_no_other(pool: Pool) -> None:
    pairs = [("2", "2.0")] * 4 + [("2", HANGS)] + [("x", "x")] * 4
    found = [finding.kind for finding in pool.compare(pairs)]
    assert found == [EQUAL] * 4 + [TIMEOUT] + [EQUAL] * 4


def test_a_killed_worker_is_replaced_and_its_pairs_are_compared() -> None:
    pool = Pool(size=1)
    assert pool.compare([("x", "x")])[0].kind == EQUAL
    [pid] = pool.pids()
    os.kill(pid, signal.SIGKILL)
    assert [finding.kind for finding in pool.compare([("x", "x"), ("1", "2")])] == [
        EQUAL,
        DIFFERENT,
    ]
    assert pool.pids() != [pid]
    pool.close()
    assert ended(pid)


def fake(tmp_path: Path, body: str) -> list[str]:
    """The command of a worker that does something else with each pair."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, os, signal, sys, time\n"
        f'print(json.dumps(["ready", "{math_pool.MATH_VERIFY}", ""]), flush=True)\n'
        "for line in sys.stdin:\n"
        "    number, gold, answer = json.loads(line)\n"
        f"    {body}\n"
        '    print(json.dumps([number, "equal", ""]), flush=True)\n'
    )
    return [sys.executable, str(script)]


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        ('if answer == "bad": os._exit(3)', ERROR, "ended with 3"),
        ('if answer == "bad": os.kill(os.getpid(), signal.SIGSEGV)', ERROR, "ended with -11"),
        ('if answer == "bad": os.kill(os.getpid(), signal.SIGXCPU)', TIMEOUT, "killed"),
        (
            'if answer == "bad": print(json.dumps([number, "error", "MemoryError: "]), flush=True)'
            "; continue",
            ERROR,
            "MemoryError",
        ),
    ],
)
def test_the_pair_at_which_workers_die_gets_the_blame(
    body: str, kind: str, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if body.endswith("continue"):
        head, _, rest = body.partition(": ")
        body = f"{head}:\n        {rest.replace('; continue', '')}\n        continue"
    monkeypatch.setattr(math_pool, "COMMAND", fake(tmp_path, body))
    pool = Pool(size=2)
    answers = ["good"] * 20
    answers[7] = answers[13] = "bad"
    found = pool.compare([("1", answer) for answer in answers])
    assert [k for k, finding in enumerate(found) if finding.kind != EQUAL] == [7, 13]
    assert {found[k].kind for k in (7, 13)} == {kind}
    assert detail in found[7].detail
    pool.close()


def test_a_worker_that_stands_still_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = fake(tmp_path, 'time.sleep(3600 if answer == "bad" else 0)')
    monkeypatch.setattr(math_pool, "COMMAND", command)
    monkeypatch.setattr(math_pool, "STALL_S", 1.0)
    pool = Pool(size=1)
    found = pool.compare([("1", "good"), ("1", "bad"), ("1", "good")])
    assert [finding.kind for finding in found] == [EQUAL, TIMEOUT, EQUAL]
    pool.close()


def test_workers_that_do_not_start_are_the_users_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = [sys.executable, "-c", "import no_such_module"]
    monkeypatch.setattr(math_pool, "COMMAND", missing)
    pool = Pool(size=1)
    with pytest.raises(UserError, match=r"does not start: .*no_such_module") as caught:
        pool.compare([("1", "x")])
    assert caught.value.next_step == f"pip install math-verify=={math_pool.MATH_VERIFY}"
    assert pool.pids() == []
    monkeypatch.setattr(math_pool, "COMMAND", fake(tmp_path, "pass"))
    monkeypatch.setattr(math_pool, "MATH_VERIFY", "7.7.7")
    with pytest.raises(UserError, match=r"needs math-verify 7\.7\.7, 0\.9\.0 is installed"):
        pool.compare([("1", "x")])
    assert pool.pids() == []
    pool.close()


PARENT = """
import sys
from qstar_core.grading import math_pool
pool = math_pool.shared()
pool.compare([("x", "x")])
print(*pool.pids(), flush=True)
if sys.argv[1] == "hang":
    pool.compare([("2", "10^{10^{10}}")] * 50)
"""


@pytest.mark.parametrize("ending", ["exit", "kill", "hang"])
def test_workers_end_with_their_parent(ending: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, ending], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert pids
    if ending != "exit":
        parent.kill()
    parent.wait()
    wait_until(lambda: all(ended(pid) for pid in pids), "the workers end")
    parent.stdout.close()
