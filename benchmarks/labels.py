"""Labelled steps per second and core, and the memory it takes, as tables grow.

Usage: python benchmarks/labels.py [--millions 1,10] [--beside 1]

Rollouts are made up: 16 per problem of 2 to 5 steps with 4 actions in each state, ids as long as
real ones. For each size (100 million takes long) a process of its own with one thread labels so
many steps, shard by shard as the stage does, and reports CPU seconds and its peak resident memory,
the made-up rollouts included. Making them is not timed. Of each method the labelling alone is
timed, from the rollouts in memory to all columns of the labels; and as ``stage`` the whole shard,
from the Parquet file of the rollouts to that of the labels (best of rollouts). Beside it, on
``--beside`` million steps, the same labels by a plain Python loop and by pandas, after a look
that they are equal.

The last column says how far the largest size is from linear.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.update(POLARS_MAX_THREADS="1", OMP_NUM_THREADS="1")

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402

from qstar_core.labels import METHODS, stream  # noqa: E402
from qstar_core.labels.schema import file_schema  # noqa: E402
from qstar_core.labels.steps import Z95, as_paths  # noqa: E402
from qstar_core.rollouts.sample import SCHEMA, STEP  # noqa: E402
from qstar_core.sharding import LABEL_ROLLOUTS  # noqa: E402
from qstar_core.store import dataset  # noqa: E402

SAMPLES = 16  # per problem
LONGEST = 5
ACTIONS = 4  # of each state
TEXTS = [
    f"{a} {op} {b} = {a + b} | {a} {b} > 10\n" for a in range(25) for b in range(25) for op in "+-*"
]
MILLION = 1_000_000
STEPS_PER_ROLLOUT = 3.5
GAMMA = 0.9
ETA = 0.1
CHOSEN: dict[str, dict[str, Any]] = {
    "best_of_rollouts": {},
    "mean_of_rollouts": {},
    "soft": {"eta": ETA},
}
KIB_PER_MIB = 1024
U64 = np.uint64


def mixed(values: np.ndarray) -> np.ndarray:
    """Well-mixed 64-bit numbers, one for each (the finaliser of splitmix64)."""
    z = values + U64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
    return z ^ (z >> U64(31))


def ids(values: np.ndarray) -> pa.Array:
    """24 hexadecimal digits for each number."""
    high = mixed(values)
    low = mixed(high).astype(np.uint32)
    raw = np.concatenate([high.view(np.uint32).reshape(-1, 2), low.reshape(-1, 1)], axis=1)
    text = raw.tobytes().hex().encode()
    ends = np.arange(0, len(text) + 1, 24, dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(text))


def made_up(rollouts: int, first_problem: int) -> pa.Table:
    """A table of rollouts, a function of its arguments."""
    rng = np.random.default_rng(first_problem)
    problem = first_problem + np.arange(rollouts) // SAMPLES
    lengths = rng.integers(2, LONGEST + 1, rollouts, dtype=np.int32)
    nodes = np.empty((rollouts, LONGEST + 1), U64)
    nodes[:, 0] = mixed(problem.astype(U64))
    choices = rng.integers(1, ACTIONS + 1, (rollouts, LONGEST), dtype=U64)
    for t in range(LONGEST):
        nodes[:, t + 1] = mixed(nodes[:, t] * U64(ACTIONS + 1) + choices[:, t])
    there = np.arange(LONGEST) < lengths[:, None]
    states, actions = nodes[:, :-1][there], nodes[:, 1:][there]
    ends = np.cumsum(lengths, dtype=np.int32)
    count = len(states)
    last = np.zeros(count, bool)
    last[ends - 1] = True
    texts = pa.array(TEXTS).take(pa.array((actions % U64(len(TEXTS))).astype(np.int32)))
    columns = [
        texts,
        pa.array(np.full(count, 12, np.int32)),
        pa.array(-rng.random(count)),
        pa.array(last),
        ids(states),
        ids(actions),
    ]
    steps = pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], ends]).astype(np.int32)),
        pa.StructArray.from_arrays(columns, fields=list(STEP)),
        type=SCHEMA.field("steps").type,
    )
    correct = mixed(actions[ends - 1]) % U64(5) == 0

    def same(value: Any) -> pa.Array:
        return pa.repeat(pa.scalar(value), rollouts)

    made = {
        "rollout_id": ids(mixed(first_problem * SAMPLES + np.arange(rollouts, dtype=U64))),
        "problem_id": ids(nodes[:, 0]),
        "sample_index": pa.array((np.arange(rollouts) % SAMPLES).astype(np.int32)),
        "seed": pa.array(np.arange(rollouts)),
        "steps": steps,
        "n_steps": pa.array(lengths),
        "tokens": pa.array(lengths * 12),
        "finish": same("end"),
        "outcome": pa.array(["wrong", "correct"]).take(pa.array(correct.astype(np.int8))),
        "answer": same("10"),
        "grader": same("countdown"),
        "grader_version": same("1"),
        "policy": same("0123456789abcdef01234567"),
        "temperature": same(1.0),
        "split": same("train"),
    }
    return pa.table(made, schema=SCHEMA)


def frame_of(table: pa.Table) -> pl.LazyFrame:
    """Rollouts in memory as paths."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return as_paths(frame.lazy())


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, and the result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def stage(table: pa.Table) -> float:
    """CPU seconds of one shard of the stage."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "rollouts.parquet", Path(folder) / "labels.parquet"
        dataset.write_table(source, table)
        problems = pl.Series(table["problem_id"].unique().to_pylist())
        tables = stream.Tables([str(source)], [], problems)
        schema = file_schema("best_of_rollouts", GAMMA, {})

        def label(paths: pl.LazyFrame) -> pl.LazyFrame:
            return METHODS["best_of_rollouts"](paths, GAMMA)

        seconds, _ = timed(
            lambda: stream.label_file(
                target, schema, stream.chunks(tables), label, lambda *counts: None
            )
        )
    return seconds


def measure(millions: float) -> dict[str, Any]:
    """CPU seconds of each method and of the stage on so many steps, and this process's peak."""
    seconds = dict.fromkeys((*CHOSEN, "stage"), 0.0)
    at_once = int(stream.STEPS_AT_ONCE / STEPS_PER_ROLLOUT) // SAMPLES * SAMPLES
    for method, parameters in CHOSEN.items():  # the first use of a library is not what is measured
        METHODS[method](frame_of(made_up(SAMPLES, 0)), GAMMA, **parameters).collect()
    stage(made_up(SAMPLES, 0))
    steps = first = 0
    while steps < 0.99 * millions * MILLION:
        left = int((millions * MILLION - steps) / STEPS_PER_ROLLOUT) // SAMPLES * SAMPLES
        rollouts = max(SAMPLES, min(left, LABEL_ROLLOUTS))
        table = made_up(rollouts, first)
        for method, parameters in CHOSEN.items():
            for start in range(0, rollouts, at_once):
                paths = frame_of(table.slice(start, at_once))
                taken, labels = timed(METHODS[method](paths, GAMMA, **parameters).collect)
                seconds[method] += taken
                del labels, paths
        seconds["stage"] += stage(table)
        steps += int(pa.compute.sum(table["n_steps"]).as_py())
        first += rollouts // SAMPLES
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB
    return {"steps": steps, "seconds": seconds, "peak_mb": peak}


def plainly(rows: list[dict[str, Any]], method: str) -> list[float]:
    """y of every step, and beside it counts and intervals, by a loop over rows in memory."""
    pools: dict[str, list[float]] = {}
    keys = []
    for row in rows:
        correct, length = row["outcome"] == "correct", row["n_steps"]
        for t, step in enumerate(row["steps"], start=1):
            keys.append(step["action_id"])
            seen = GAMMA ** (length - t) if correct else 0.0
            pools.setdefault(step["action_id"], []).append(seen)
    found = {}
    for action, seen in pools.items():
        n, k = len(seen), sum(value > 0 for value in seen)
        if method == "best_of_rollouts":
            y = max(seen)
        elif method == "mean_of_rollouts":
            y = sum(seen) / n
        else:
            y = ETA * math.log(sum(math.exp(value / ETA) for value in seen) / n)
        rate, spread = k / n, Z95**2 / n
        middle = (rate + spread / 2) / (1 + spread)
        half = math.sqrt(rate * (1 - rate) * spread + spread**2 / 4) / (1 + spread)
        found[action] = (y, n, k, middle - half, middle + half)
    return [found[action][0] for action in keys]


def by_pandas(table: pa.Table, method: str) -> Any:
    """The same by pandas, from the rollouts in memory."""
    import pandas as pd

    steps = table["steps"].combine_chunks()
    lengths = table["n_steps"].to_numpy()
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    correct = np.repeat((table["outcome"].to_numpy() == "correct"), lengths)
    left = np.repeat(lengths, lengths) - (np.arange(len(starts)) - starts) - 1
    actions = steps.flatten().field("action_id").to_pandas()
    frame = pd.DataFrame({"action": actions, "seen": np.where(correct, GAMMA**left, 0.0)})
    frame["correct"] = correct
    if method == "soft":
        frame["seen"] = np.exp(frame["seen"] / ETA)
    how = "max" if method == "best_of_rollouts" else "mean"
    pools = frame.groupby("action", sort=False)
    found = pools.agg(y=("seen", how), n=("seen", "size"), k=("correct", "sum"))
    if method == "soft":
        found["y"] = ETA * np.log(found["y"])
    rate, spread = found["k"] / found["n"], Z95**2 / found["n"]
    middle = (rate + spread / 2) / (1 + spread)
    half = np.sqrt(rate * (1 - rate) * spread + spread**2 / 4) / (1 + spread)
    found["low"], found["high"] = middle - half, middle + half
    return frame[["action"]].join(found, on="action")["y"].to_numpy()


def beside(millions: float) -> dict[str, dict[str, float]]:
    """Steps per CPU second by library and method, of y, counts and interval alone.

    The other columns of the labels are left out here, ours included.
    """
    table = made_up(int(millions * MILLION / STEPS_PER_ROLLOUT) // SAMPLES * SAMPLES, 0)
    steps = int(pa.compute.sum(table["n_steps"]).as_py())
    rows = table.select(["steps", "n_steps", "outcome"]).to_pylist()
    columns = ("y", "n_samples", "successes", "success_low", "success_high")

    def ours(method: str) -> Any:
        labels = METHODS[method](frame_of(table), GAMMA, **CHOSEN[method])
        return labels.select(columns).collect()["y"].to_numpy()

    works = {"qstar": ours, "plain Python": lambda method: plainly(rows, method)}
    if find_spec("pandas"):
        works["pandas"] = lambda method: by_pandas(table, method)
    speeds: dict[str, dict[str, float]] = {name: {} for name in works}
    for method in CHOSEN:
        expected = ours(method)
        for name, work in works.items():
            rounds = [timed(partial(work, method)) for _ in range(3)]
            np.testing.assert_allclose(rounds[0][1], expected, atol=1e-12)
            speeds[name][method] = steps / min(seconds for seconds, _ in rounds)
    return speeds


def show(found: list[dict[str, Any]], others: dict[str, dict[str, float]], millions: float) -> None:
    """Prints the tables."""
    print(f"labelled steps per CPU second, one thread, polars {pl.__version__}")
    print(f"\n{'y, counts, interval':22}{millions:>10g} M steps")
    for name, speeds in others.items():
        cells = "".join(f"{method:>18} {speed:>10,.0f}" for method, speed in speeds.items())
        print(f"{name:22}{cells}")
    if "pandas" not in others:
        print("pandas                is not installed; it comes with the extra dev")
    sizes = "".join(f"{one['steps'] / MILLION:>12,.1f} M" for one in found)
    print(f"\n{'all columns':22}{sizes}   x linear")
    for name in found[0]["seconds"]:
        pace = [one["seconds"][name] / one["steps"] for one in found]
        cells = "".join(f"{1 / each:>14,.0f}" for each in pace)
        print(f"{name:22}{cells}   {pace[-1] / pace[0]:.2f}")
    print(f"{'peak memory, MB':22}" + "".join(f"{one['peak_mb']:>14,.0f}" for one in found))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", default="1,10")
    parser.add_argument("--beside", type=float, default=1.0)
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    pa.set_cpu_count(1)
    if arguments.one is not None:
        print(json.dumps(measure(arguments.one)))
        return
    found = []
    for millions in arguments.millions.split(","):
        command = [sys.executable, __file__, "--one", millions]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{millions} M steps: {found[-1]}", file=sys.stderr, flush=True)
    show(found, beside(arguments.beside), arguments.beside)


if __name__ == "__main__":
    main()
