from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.policies.allowance import SHARE, Allowance
from tests.processes import PATIENCE_S


@given(
    worst=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    batch=st.integers(1, 10),
    limit=st.integers(1, 500),
)
def test_a_claim_is_what_fits_or_an_engine_batch(worst: list[int], batch: int, limit: int) -> None:
    allowance = Allowance(None, limit)
    try:
        count = allowance.claim(worst, batch)
        assert count is not None and 1 <= count <= len(worst)
        least = min(batch, len(worst))
        assert count >= least
        assert count == least or sum(worst[:count]) <= limit // SHARE
        if count < len(worst):
            assert sum(worst[: count + 1]) > limit // SHARE
    finally:
        allowance.close()


def test_nothing_is_given_out_while_others_hold_what_is_left() -> None:
    mine = Allowance(None, 100)
    theirs = Allowance(str(mine.path), 100)
    assert mine.claim([60, 60], 2) == 2
    assert theirs.claim([10], 1) == 0  # wait: the others may not need it all
    mine.settle(120, 70)
    assert theirs.spent == 70
    assert theirs.claim([10] * 9, 1) == 1
    theirs.settle(10, 10)
    assert mine.claim([200], 1) == 1
    mine.settle(200, 30)
    assert mine.claim([1], 1) is None
    assert theirs.claim([1], 1) is None
    mine.close()
    assert not mine.path.exists()


def test_what_a_dead_process_held_is_free_again() -> None:
    allowance = Allowance(None, 100)
    code = (
        "from qstar_core.policies.allowance import Allowance\n"
        f"assert Allowance({str(allowance.path)!r}, 100).claim([100], 1) == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_S)
    assert json.loads(allowance.path.read_text())["held"]
    assert allowance.claim([30], 1) == 1
    allowance.close()


def test_several_processes_go_over_by_one_batch_at_most(tmp_path: Path) -> None:
    allowance = Allowance(None, 1000)
    code = """
import random, sys, time
from qstar_core.policies.allowance import Allowance
allowance, dice = Allowance(sys.argv[1], 1000), random.Random(int(sys.argv[2]))
while (count := allowance.claim([7] * 40, 5)) is not None:
    time.sleep(dice.random() / 200)
    if count:
        allowance.settle(7 * count, sum(dice.randint(0, 7) for _ in range(count)))
"""
    argv = [sys.executable, "-c", code, str(allowance.path)]
    workers = [subprocess.Popen([*argv, str(seed)]) for seed in range(3)]
    assert [worker.wait(PATIENCE_S) for worker in workers] == [0, 0, 0]
    assert 1000 <= allowance.spent < 1000 + 5 * 7
    allowance.close()


@pytest.mark.parametrize("here", [True, False])
def test_a_specification_names_the_file_or_what_was_spent(here: bool, tmp_path: Path) -> None:
    assert Allowance.of(None) is None
    shared = Allowance(None, 50)
    shared.claim([20], 1)
    shared.settle(20, 20)
    path = str(shared.path) if here else str(tmp_path / "of another machine")
    found = Allowance.of({"path": path, "limit": 50, "spent": 45})
    assert found is not None
    assert found.spent == (20 if here else 45)
    found.close()
    assert shared.path.exists()
    shared.close()
