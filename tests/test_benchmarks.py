from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.equal_budget import print_table

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(ROOT.glob("benchmarks/*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_benchmark_starts(script: Path) -> None:
    found = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert found.returncode == 0, found.stderr
    if 'if __name__ == "__main__"' in script.read_text(encoding="utf-8"):
        assert "usage:" in found.stdout


def test_equal_budgets_tells_the_tokens_that_are_spent_beside_the_budget(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def row(method: str, budget: int, accuracy: float, spent: float) -> dict[str, Any]:
        figures = {"accuracy": accuracy, "policy_tokens": spent, "oracle": 0.9, "verdict": ""}
        return {"method": method, "budget": budget, **figures}

    sweep = [row("best-of-N", 100, 0.3, 99.0), row("best-of-N", 800, 0.8, 790.4)]
    sweep += [row("A*", 100, 0.0, 98.0), row("A*", 800, 0.85, 312.6)]
    sweep += [row("greedy", 100, 0.4, 28.0), row("greedy", 800, 0.4, 28.0)]
    gained = {"difference": 0.05, "difference_low": 0.01, "difference_high": 0.09}
    reach = [
        {"method": "A*", "target_budget": 800, "budget": 800, "policy_tokens": 312.6, **gained},
        {"method": "greedy", "target_budget": 800, "budget": None, "policy_tokens": None},
    ]
    print_table({"sweep": sweep, "reach": reach}, "best-of-N")
    head, _, star, greedy, _ = capsys.readouterr().out.splitlines()
    assert "reaches best-of-N at 800 (spends 790) with" in head
    assert star.endswith("800 (313; +5.0, +1.0 to +9.0)")
    assert greedy.endswith("not reached")
