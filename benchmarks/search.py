"""The search driver: many searches at once beside one at a time, its own share of the time, and
scoring with a shared prefix beside one sequence per action.

Usage: python benchmarks/search.py [--problems 500] [--alone 50] [--tokens 400] [--active 200]
                                   [--threads N]

1. A* on held-out problems with the reference checkpoints: problems per second with 200 searches
   active, and one at a time on the first ``--alone`` of the same problems, in the same process;
   in float64, which makes results independent of the batch, in float32 and in bfloat16. One at a
   time the time goes into starting small operations, whatever the precision; batched it goes into
   the work, matrix products and reading and writing activations, which takes longer the more bytes
   a number has (docs/scale-out.md has the shares): the ceiling of the ratio.
2. The time of that run outside of the policy and the Q-value model.
3. Scoring with shared and with kept prefixes beside one row per action: benchmarks/prefixes.py.

Prints the ratios.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks import prefixes  # noqa: E402
from qstar_core.config import CountdownRanges, SearchConfig  # noqa: E402
from qstar_core.domains import countdown_problems  # noqa: E402
from qstar_core.mdp import Problem  # noqa: E402
from qstar_core.policies.checkpoint import resolve_checkpoint  # noqa: E402
from qstar_core.policies.transformers import TransformersPolicy  # noqa: E402
from qstar_core.search.budget import Budget  # noqa: E402
from qstar_core.search.driver import run  # noqa: E402
from qstar_core.values.score import TransformersValue  # noqa: E402

RANGES = CountdownRanges(
    numbers=(4,), min_number=1, max_number=10, min_target=1, max_target=10, min_solutions=5
)


class Stopwatch:
    """Seconds spent in the calls that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def searches(
    problems: Sequence[Problem], policy: Any, value: Any, tokens: int, active: int
) -> float:
    """Seconds that A* takes for all problems."""
    config = SearchConfig(name="A*", algorithm="astar")
    budget = Budget(tokens, 10_000, 10_000)
    start = time.perf_counter()
    run(problems, config, budget, policy, value, run_seed=0, active=active)
    return time.perf_counter() - start


def driver(arguments: argparse.Namespace, dtype: str) -> None:
    """Prints the speed of the driver and its overhead."""
    problems = countdown_problems.generate("test", arguments.problems, RANGES, seed=0)
    folder = resolve_checkpoint("reference:countdown-policy", "policy")
    policy = TransformersPolicy(folder, dtype, "cpu", arguments.batch_size)
    folder = resolve_checkpoint("reference:countdown-qvm", "qvm")
    value = TransformersValue(folder, dtype, "cpu", arguments.batch_size)
    alone = problems[: arguments.alone]
    searches(alone[:2], policy, value, arguments.tokens, 1)  # warm
    one = len(alone) / searches(alone, policy, value, arguments.tokens, 1)
    watch = Stopwatch()
    policy.sample = watch.wrap(policy.sample)  # type: ignore[method-assign]
    value.score = watch.wrap(value.score)  # type: ignore[method-assign]
    seconds = searches(problems, policy, value, arguments.tokens, arguments.active)
    many = len(problems) / seconds
    print(dtype)
    print(f"one at a time      {one:8.2f} problems/s ({len(alone)} problems)")
    print(f"{arguments.active:<4} at a time     {many:8.2f} problems/s ({len(problems)} problems)")
    print(f"driver overhead    {1 - watch.seconds / seconds:8.1%} of the time")
    print(f"batched / alone    {many / one:8.2f}")


def main() -> None:
    """Prints all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--alone", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--active", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for dtype in ("float64", "float32", "bfloat16"):
        driver(arguments, dtype)
    prefixes.table(rounds=3)


if __name__ == "__main__":
    main()
