"""The memory of many searches in one process, with their traces.

Usage: python benchmarks/memory.py [--searches 10000] [--tokens 400] [--active 64]

A* on countdown with a scripted policy (legal lines at random) and a noisy exact Q as value model,
through the evaluation as a shard worker does it: every tree ends up in the table of rows. torch is
imported, as in a worker, and no model is loaded.

Prints searches, nodes of the traces, the table's size, and the largest resident memory of the
process, before and after.
"""

from __future__ import annotations

import argparse
import math
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import pyarrow.compute as pc  # noqa: E402
import torch  # noqa: E402

from qstar_core.config import CountdownRanges, EvaluationConfig, RunConfig  # noqa: E402
from qstar_core.domains import countdown, countdown_problems  # noqa: E402
from qstar_core.evaluation.run import evaluate  # noqa: E402
from qstar_core.mdp import Step  # noqa: E402
from qstar_core.policies import Sample, SampleRequest  # noqa: E402

RANGES = CountdownRanges(numbers=(4,), min_number=1, max_number=20, min_target=10, max_target=100)


def state_of(text: str) -> tuple[countdown.Numbers, int]:
    """The numbers and the target in the last line of a text."""
    left, _, target = text.splitlines()[-1].split("|")[-1].partition(">")
    return countdown.ordered([countdown.Fraction(n) for n in left.split()]), int(target)


class Player:
    """Plays legal lines at random."""

    fingerprint = "player"
    batch_independent = True

    def sample(
        self, requests: Sequence[SampleRequest], done: Callable[[int, int], None] | None = None
    ) -> list[list[Sample]]:
        """Samples of every request."""
        return [[self.play(request, seed) for seed in request.seeds] for request in requests]

    def play(self, request: SampleRequest, seed: int) -> Sample:
        """One sample: up to ``max_steps`` lines."""
        rng = random.Random(seed)
        numbers, target = state_of(request.text)
        steps: list[Step] = []
        while len(numbers) > 1 and len(steps) < request.max_steps:
            options = list(countdown.moves(numbers))
            if not options:  # no result of any operation can be represented
                break
            operator, left, right, numbers = rng.choice(options)
            text = countdown.line(operator, left, right, numbers, target)
            ended = len(numbers) == 1
            tokens = len(text.split()) + 1
            steps.append(Step(text + ("" if ended else "\n"), tokens, -0.7 * tokens, ended))
        return Sample(tuple(steps), "end")


class Oracle:
    """Whether the target can still be reached, with noise that hides it now and then."""

    fingerprint = "oracle"

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        """Q of each text."""
        return [self.value(text) for text in texts]

    def value(self, text: str) -> float:
        """A logistic of the truth and noise from the text."""
        truth = countdown.solvable(*state_of(text))
        return round(1 / (1 + math.exp(-(3 * truth - 1.5 + random.Random(text).gauss(0, 1.5)))), 6)


def peak_mb() -> float:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--active", type=int, default=64)
    arguments = parser.parse_args()
    limits = EvaluationConfig(max_policy_tokens=arguments.tokens, active=arguments.active)
    config = RunConfig(evaluation=limits)
    star = next(method for method in limits.methods if method.algorithm == "astar")
    problems = countdown_problems.generate("test", arguments.searches, RANGES, seed=0)
    before, start = peak_mb(), time.perf_counter()
    table, _ = evaluate(problems, star, Player(), Oracle(), config, lambda *_: None)
    seconds, nodes = time.perf_counter() - start, pc.sum(pc.list_value_length(table["nodes"]))
    print(f"searches           {len(table):10,} in {seconds:,.0f} s, torch {torch.__version__}")
    print(f"nodes of traces    {nodes.as_py():10,}")
    print(f"table              {table.nbytes / 2**20:10,.0f} MB")
    print(f"peak before        {before:10,.0f} MB")
    print(f"peak after         {peak_mb():10,.0f} MB")


if __name__ == "__main__":
    main()
