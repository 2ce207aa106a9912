"""Game of 24: the hardest solvable puzzles through ``qstar evaluate``, as a user would run them.

Usage: python benchmarks/game24.py [--puzzles 100] [--expansions 100] [--k 36] [--qvm PATH]

The 1,362 solvable multisets of four numbers from 1 to 13 are ranked by how many distinct plays
solve them; the hardest are written to a JSONL file, and A* searches each with the reference
checkpoints and a limit on the states that are expanded. Prints how many are solved.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import polars as pl

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from qstar_core.domains.countdown import count_solutions, ordered  # noqa: E402
from qstar_core.store import dataset  # noqa: E402

TARGET = 24
CONFIG = """
name: game24
out: {out}
domain: {{test_file: {puzzles}}}
qvm: {{path: {qvm}}}
evaluation:
  max_policy_tokens: 1000000
  max_value_calls: 1000000
  max_expansions: {expansions}
  baseline: A*
  shard_problems: 50
  methods:
    - {{name: A*, algorithm: astar, k: {k}, n: 1, merge: state}}
"""


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
    parser.add_argument("--expansions", type=int, default=100)
    parser.add_argument("--k", type=int, default=36)
    parser.add_argument("--qvm", default="reference:countdown-qvm")
    arguments = parser.parse_args()
    solvable, puzzles = hardest(arguments.puzzles)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "hardest.jsonl"
        rows = [json.dumps({"numbers": numbers, "target": TARGET}) for numbers in puzzles]
        file.write_text("\n".join(rows) + "\n", encoding="utf-8")
        config = Path(folder) / "game24.yaml"
        fields = {"out": f"{folder}/out", "puzzles": file, "qvm": arguments.qvm}
        fields |= {"expansions": arguments.expansions, "k": arguments.k}
        config.write_text(CONFIG.format(**fields), encoding="utf-8")
        qstar = [sys.executable, "-m", "flows.cli", "evaluate", str(config)]
        subprocess.run(qstar, check=True, cwd=ROOT)
        [found] = Path(folder).glob("out/evaluation/*")
        searches = pl.read_parquet(dataset.data_files(str(found)))
    solved = searches.filter(pl.col("outcome") == "correct")
    means = searches.select(pl.col("expansions", "policy_tokens").mean()).row(0, named=True)
    print(f"solvable puzzles    {solvable:8,}")
    print(f"hardest searched    {len(searches):8,}")
    print(f"expansions          {means['expansions']:8.1f} on average")
    print(f"policy tokens       {means['policy_tokens']:8,.0f} on average")
    print(f"solved              {len(solved):8,} within {arguments.expansions} expansions each")


if __name__ == "__main__":
    main()
