"""All search algorithms at four budgets of policy tokens, on countdown with four and five numbers.

Usage: python benchmarks/equal_budget.py [--set PATH.TO.FIELD=VALUE ...]

Runs ``qstar compare`` with deployments/equal-budget-4.yaml and deployments/equal-budget-5.yaml
(what is there is kept; an hour and a half on 2 cores otherwise; progress goes to standard error)
and prints a table of each: accuracy in %, marked + or - where it differs from best-of-N's at the
same budget after Holm's correction, the oracle pass@N of best-of-N's rollouts, and with how many
tokens each method reaches what best-of-N has with its largest budget: the smallest budget that is
enough, and the tokens that are spent of it (mean per problem).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from qstar_core import pipeline  # noqa: E402
from qstar_core.config_file import load_config  # noqa: E402
from qstar_core.store import dataset  # noqa: E402

CONFIGS = {n: f"deployments/equal-budget-{n}.yaml" for n in (4, 5)}
MARKS = {"better": "+", "worse": "-"}


def figures(config: str, overrides: list[str]) -> dict[str, Any]:
    """Runs a comparison; returns the figures of its sweep over tokens."""
    sets = [part for override in overrides for part in ("--set", override)]
    command = [sys.executable, "-m", "flows.cli", "compare", config, *sets]
    subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr)
    stage = pipeline.plan_comparison(load_config(ROOT / config, overrides))["comparison_report"]
    manifest = dataset.read_complete(stage.uri)
    assert manifest is not None
    found: dict[str, Any] = manifest["figures"]["sweeps"]["comparison"]
    return found


def print_table(found: dict[str, Any], baseline: str) -> None:
    """Accuracy by method and budget."""
    rows = {(row["method"], row["budget"]): row for row in found["sweep"]}
    budgets = sorted({budget for _, budget in rows})
    largest = budgets[-1]
    reached = {row["method"]: row for row in found["reach"] if row["target_budget"] == largest}
    head = "".join(f"{budget:>9,.0f}" for budget in budgets)
    spent = rows[baseline, largest]["policy_tokens"]
    print(
        f"{'method':<16}{head}   reaches {baseline} at {largest:,.0f} (spends {spent:,.0f}) with "
        "a budget of (spends; difference, 95 %)"
    )
    for method in dict.fromkeys(name for name, _ in rows):
        cells = ""
        for budget in budgets:
            row = rows[method, budget]
            cells += f"{100 * row['accuracy']:>8.1f}{MARKS.get(row['verdict'], ' ')}"
        row = reached.get(method)
        note = ""
        if row is not None:
            note = "not reached"
            if row["budget"] is not None:
                low, high = 100 * row["difference_low"], 100 * row["difference_high"]
                difference = f"{100 * row['difference']:+.1f}, {low:+.1f} to {high:+.1f}"
                note = f"{row['budget']:,.0f} ({row['policy_tokens']:,.0f}; {difference})"
        print(f"{method:<16}{cells}   {note}")
    oracle = "".join(f"{100 * rows[baseline, budget]['oracle']:>8.1f} " for budget in budgets)
    print(f"{'oracle pass@N':<16}{oracle}   of the rollouts of {baseline}")


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    os.chdir(ROOT)
    for numbers, config in CONFIGS.items():
        found = figures(config, arguments.overrides)
        baseline = load_config(ROOT / config, arguments.overrides).evaluation.baseline
        n = found["sweep"][0]["n"]
        print(f"countdown with {numbers} numbers, {n} held-out problems, accuracy in % by budget")
        print_table(found, baseline)
        print()


if __name__ == "__main__":
    main()
