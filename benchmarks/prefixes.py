"""Scoring with shared and with kept prefixes, beside one row per action.

Usage: python benchmarks/prefixes.py [--threads N] [--rounds 5]

A random model of about 100 M parameters in float32; K = 6 actions of 20 tokens.

1. The actions of four states of 300 tokens, nothing known before: each action in a row of its own
   (naive), and the prefix computed once (packed).
2. A search that grows: a state of 300 tokens is expanded, one of its actions is the next state, and
   so on, eight expansions in all; also with keys and values kept in between (cached).
3. The same for prefixes of other lengths, and for the small reference Q-value model in float64:
   from where on keeping pays.

Prints the ratios and the largest difference of a value to the naive one.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForTokenClassification,
    LlamaForTokenClassification,
)

from qstar_core.policies.checkpoint import resolve_checkpoint  # noqa: E402
from qstar_core.values.packing import Tokens  # noqa: E402
from qstar_core.values.prefix_scorer import PrefixScorer  # noqa: E402
from tests.models import random_llama  # noqa: E402

K, CHILD, PREFIX, STATES, EXPANSIONS = 6, 20, 300, 4, 8
VOCABULARY = 32_000
CACHE_MB = 1024
NAMES = ("naive", "packed", "cached")

Calls = list[list[Tokens]]
"""The sequences of each call in turn."""


def large() -> Any:
    """About 100 M parameters with random weights."""
    shape = {"hidden": 768, "layers": 11, "heads": 12, "intermediate_size": 2048}
    more = {"num_labels": 1, "tie_word_embeddings": True}
    return random_llama(LlamaForTokenClassification, VOCABULARY, **shape, **more).eval()


def small() -> Any:
    """The reference Q-value model, as evaluations run it."""
    folder = resolve_checkpoint("reference:countdown-qvm", "qvm")
    return AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float64).eval()


def states(prefix: int, child: int, vocabulary: int) -> Calls:
    """One call: the actions of several states."""
    rng = random.Random(0)
    draw = drawing(rng, vocabulary)
    return [[(*s, *draw(child)) for s in [draw(prefix) for _ in range(STATES)] for _ in range(K)]]


def growing(prefix: int, child: int, vocabulary: int, searches: int = 1) -> Calls:
    """A call per expansion: the actions of a state that is one of the last call's actions."""
    rng = random.Random(1)
    draw = drawing(rng, vocabulary)
    tips, calls = [draw(prefix) for _ in range(searches)], []
    for _ in range(EXPANSIONS):
        families = [[(*tip, *draw(child)) for _ in range(K)] for tip in tips]
        calls.append([tokens for family in families for tokens in family])
        tips = [rng.choice(family) for family in families]
    return calls


def drawing(rng: random.Random, vocabulary: int) -> Callable[[int], Tokens]:
    """Draws tokens that are no special ones."""
    return lambda count: tuple(rng.randrange(10, vocabulary) for _ in range(count))


def make(model: Any, name: str) -> PrefixScorer:
    """A scorer that shares and keeps what its name says, whatever the length."""
    scorer = PrefixScorer(model, 256, CACHE_MB if name == "cached" else 0)
    scorer.shares = name != "naive"
    if name == "cached":
        scorer.cached_from = 1
    return scorer


def measure(model: Any, calls: Calls, rounds: int) -> tuple[dict[str, float], float]:
    """Seconds of each way, the best of some rounds taking turns, and the largest difference."""
    best = dict.fromkeys(NAMES, float("inf"))
    values: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in NAMES:
            scorer = make(model, name)
            start = time.perf_counter()
            values[name] = [value for call in calls for value in scorer.values(call)]
            best[name] = min(best[name], time.perf_counter() - start)
    apart = [abs(a - b) for n in NAMES for a, b in zip(values[n], values["naive"], strict=True)]
    return best, max(apart)


def row(what: str, model: Any, calls: Calls, rounds: int) -> None:
    """Prints one line of the table."""
    best, apart = measure(model, calls, rounds)
    actions = sum(map(len, calls))
    speeds = "".join(f"{actions / best[name]:10.1f}" for name in NAMES)
    ratios = "".join(f"{best['naive'] / best[name]:9.2f}" for name in NAMES[1:])
    print(f"{what:44}{speeds}{ratios}{apart:10.0e}", flush=True)


def table(rounds: int) -> None:
    """Prints all of it."""
    head = "".join(f"{name:>10}" for name in NAMES) + "   packed   cached     apart"
    print(f"{'actions/s, and how many times naive':44}{head}")
    model = large()
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{size:.0f} M parameters, float32, {K} actions of {CHILD} tokens")
    row(f"  {STATES} states of {PREFIX}", model, states(PREFIX, CHILD, VOCABULARY), rounds)
    for prefix in (PREFIX, 40, 100):
        calls = growing(prefix, CHILD, VOCABULARY)
        row(f"  a state of {prefix} grows by {EXPANSIONS} steps", model, calls, rounds)
    model = small()
    print("reference Q-value model, float64, 6 actions of 4 tokens")
    for prefix, searches in ((15, 64), (40, 64), (40, 1), (80, 64), (80, 1)):
        calls = growing(prefix, 4, model.config.vocab_size, searches)
        row(f"  {searches} of {prefix} grow by {EXPANSIONS} steps", model, calls, rounds)


def main() -> None:
    """Takes the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    table(arguments.rounds)


if __name__ == "__main__":
    main()
