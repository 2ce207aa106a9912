"""Game of 24: the hardest solvable puzzles through ``qstar evaluate``, as a user would run them.

Usage: python benchmarks/game24.py [--puzzles 100] [--write] [--set PATH.TO.FIELD=VALUE ...]

The 1,362 solvable multisets of four numbers from 1 to 13 are ranked by how many distinct plays
solve them. The hardest are written to the test file of deployments/game24.yaml, and A* searches
each with the reference checkpoints and a limit on the states that are expanded; with ``--write``
they are only written. Prints how many are solved.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import polars as pl

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from qstar_core import pipeline  # noqa: E402
from qstar_core.config_file import load_config  # noqa: E402
from qstar_core.domains.countdown import count_solutions, ordered  # noqa: E402
from qstar_core.store import dataset  # noqa: E402

TARGET = 24
CONFIG = "deployments/game24.yaml"


def hardest(count: int) -> tuple[int, list[tuple[int, ...]]]:
    """How many puzzles are solvable, and those with the fewest solutions."""
    ranked = []
    for numbers in itertools.combinations_with_replacement(range(1, 14), 4):
        solutions = count_solutions(ordered([Fraction(n) for n in numbers]), TARGET)
        if solutions:
            ranked.append((solutions, numbers))
    ranked.sort()
    return len(ranked), [numbers for _, numbers in ranked[:count]]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--puzzles", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="write the puzzles, run nothing")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    os.chdir(ROOT)
    config = load_config(ROOT / CONFIG, arguments.overrides)
    solvable, puzzles = hardest(arguments.puzzles)
    file = ROOT / str(config.domain.test_file)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"numbers": numbers, "target": TARGET}) for numbers in puzzles]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"{len(puzzles)} hardest of {solvable:,} solvable puzzles: {file}")
    if arguments.write:
        return
    sets = [part for override in arguments.overrides for part in ("--set", override)]
    command = [sys.executable, "-m", "flows.cli", "evaluate", CONFIG, *sets]
    subprocess.run(command, check=True, cwd=ROOT)
    searches = pl.read_parquet(dataset.data_files(pipeline.plan(config)["evaluation"].uri))
    means = searches.select(pl.col("expansions", "policy_tokens").mean()).row(0, named=True)
    solved = int((searches["outcome"] == "correct").sum())
    limit = config.evaluation.max_expansions
    print(f"expansions       {means['expansions']:8.1f} on average")
    print(f"policy tokens    {means['policy_tokens']:8,.0f} on average")
    print(f"solved           {solved:8,} of {len(searches)} within {limit} expansions each")


if __name__ == "__main__":
    main()
