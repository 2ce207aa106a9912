"""What training a value model in one pass per trajectory, packed, is worth.

    python benchmarks/training.py [--hidden 512] [--layers 4] [--steps 8] [--repeats 3] [--pack 256]
    python benchmarks/training.py --hidden 128 --layers 1 --steps 4 --repeats 1      # to see it run

A Llama with random weights is trained on made-up trajectories: a prompt and T steps, of very
different lengths. Three comparisons, one thread, each the best of some repeats that take turns:

* one pass over a trajectory with a label at each step, against one pass for each step over the text
  up to it (what a sequence classifier does), updates with the same labels;
* tokens per second, padding not counted, of our packed training against a plain
  `transformers.Trainer` for token classification on the same data, padded, with the same AdamW;
* the floating point operations of the model (6 per weight and token, 12 per layer, width and pair
  of tokens that may see each other in the attention, halved for the causal mask) per second of an
  update, against what the bare matrix products of the same shapes reach in the same run.

On a CPU seconds are those of the process, so other work on the machine counts little. The ratios
come last. A step's text up to its end is on average half of the trajectory and the prompt, so one
pass per trajectory is expected to be about T / 2 times as fast, and a little more. At small widths
what is not a matrix product takes most of the time: utilisation means something from 512 on.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import polars as pl
import torch
from transformers import (
    LlamaForTokenClassification,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from qstar_core.config import QvmConfig
from qstar_core.optimizers import TRAINING_ATTENTION
from qstar_core.precision import computes_in_bf16
from qstar_core.values.batches import collate
from qstar_core.values.data import Sequences
from qstar_core.values.trainer import ValueTrainer, arguments
from tests.models import random_llama

VOCABULARY = 512
TRAJECTORIES, BATCH = 16, 8


def seconds() -> float:
    """Of the process on a CPU; of the wall where a GPU works, after it has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def made_up(steps: int, seed: int = 0) -> Sequences:
    """Trajectories with ``steps`` steps on average; lengths vary by a factor of about three."""
    rng = np.random.default_rng(seed)
    ids, ends, targets = [], [], []
    for _ in range(TRAJECTORIES):
        lengths = rng.integers(6, 30, size=rng.integers(steps // 2, steps + steps // 2 + 1))
        prompt = int(rng.integers(20, 60))
        ends.append((prompt + np.cumsum(lengths) - 1).tolist())
        ids.append(rng.integers(3, VOCABULARY, size=ends[-1][-1] + 1).tolist())
        targets.append(rng.integers(0, 2, size=len(lengths)).astype(float).tolist())
    weights = [[1.0] * len(y) for y in targets]
    frame = pl.DataFrame({"problem_id": [str(k) for k in range(TRAJECTORIES)], "y": targets})
    return Sequences(ids, ends, targets, weights, frame)


def per_step(data: Sequences) -> Sequences:
    """Each step as a sequence of its own: the text up to it."""
    ids, ends, targets, owner = [], [], [], []
    for k, (tokens, stops, y) in enumerate(zip(data.ids, data.ends, data.targets, strict=True)):
        for stop, value in zip(stops, y, strict=True):
            ids.append(tokens[: stop + 1])
            ends.append([stop])
            targets.append([value])
            owner.append(str(k))
    frame = pl.DataFrame({"problem_id": owner, "y": targets})
    return Sequences(ids, ends, targets, [[1.0]] * len(ids), frame)


def model_of(options: argparse.Namespace, labels: int = 1) -> LlamaForTokenClassification:
    """Random weights."""
    shape = {"hidden": options.hidden, "layers": options.layers, "heads": options.hidden // 64}
    more = {"intermediate_size": 3 * options.hidden, "classifier_dropout": 0.0}
    model = random_llama(
        LlamaForTokenClassification, VOCABULARY, **shape, num_labels=labels, **more
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.set_attn_implementation(options.attention or TRAINING_ATTENTION[device])
    return model.to(device)  # type: ignore[arg-type, return-value]


def ours(options: argparse.Namespace, data: Sequences, size: int, pack: int) -> float:
    """Seconds of one pass over the data by our trainer."""
    order = np.arange(len(data) // size * size)
    config = QvmConfig(batch_size=size, pack_tokens=pack, optimizer="adamw", bf16=options.bf16)
    with tempfile.TemporaryDirectory() as folder:
        args = arguments(Path(folder), config, len(order) // size, size, 0, False)
        trainer = ValueTrainer(model_of(options), data, data, order, config, args)
        start = seconds()
        trainer.train()
        return seconds() - start


def plain(options: argparse.Namespace, data: Sequences) -> float:
    """Seconds of one pass by `transformers.Trainer`: two classes, cross-entropy at the steps."""
    rows = []
    for ids, ends, targets in zip(data.ids, data.ends, data.targets, strict=True):
        labels = [-100] * len(ids)
        for end, y in zip(ends, targets, strict=True):
            labels[end] = int(y)
        rows.append({"input_ids": ids, "labels": labels})

    def padded(some: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in some)
        fill = {"input_ids": 0, "labels": -100}
        batch = {
            name: torch.tensor([r[name] + [value] * (longest - len(r[name])) for r in some])
            for name, value in fill.items()
        }
        lengths = torch.tensor([len(r["input_ids"]) for r in some])
        batch["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
        return batch

    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            bf16=options.bf16,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            train_sampling_strategy="sequential",
        )
        model: Any = model_of(options, labels=2)
        trainer = Trainer(model, args, train_dataset=rows, data_collator=padded)  # type: ignore[arg-type]
        trainer.remove_callback(PrinterCallback)
        start = seconds()
        trainer.train()
        return seconds() - start


def operations(options: argparse.Namespace, data: Sequences) -> float:
    """Floating point operations of forward and backward over the data, padding left out."""
    weights = options.layers * (4 + 3 * 3) * options.hidden**2
    tokens = sum(map(len, data.ids))
    pairs = sum(len(ids) ** 2 for ids in data.ids) / 2
    return 6.0 * weights * tokens + 12.0 * options.layers * options.hidden * pairs


def bare(options: argparse.Namespace, data: Sequences, pack: int) -> float:
    """Operations per second of the products of an update's linear layers: Y = XW, its dX and dW."""
    batch = collate(data, range(BATCH), pack)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    tokens, width = batch["input_ids"].numel(), options.hidden
    shapes = [(width, width)] * 4 + [(width, 3 * width)] * 2 + [(3 * width, width)]
    made = [
        [torch.randn(s, device=device, dtype=dtype) for s in ((tokens, i), (i, o), (tokens, o))]
        for i, o in shapes
    ]
    start = seconds()
    for _ in range(options.layers):
        for x, w, dy in made:
            torch.matmul(x, w)
            torch.matmul(dy, w.T)
            torch.matmul(x.T, dy)
    total = 6.0 * tokens * sum(i * o for i, o in shapes) * options.layers
    return total / (seconds() - start)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value, what in (
        ("hidden", 512, "width of the model, a multiple of 64"),
        ("layers", 4, "of the model"),
        ("steps", 8, "T, of a trajectory, on average"),
        ("repeats", 3, "of each measurement; the best counts"),
        ("pack", 256, "tokens of a row, at most"),
    ):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{what} ({value})")
    parser.add_argument("--attention", help="another one than training takes: eager or sdpa")
    parser.add_argument("--bf16", action="store_true", help="where the hardware multiplies it")
    options = parser.parse_args()
    options.bf16 = computes_in_bf16(options.bf16)
    torch.set_num_threads(1)
    data = made_up(options.steps)
    single = per_step(data)
    steps = len(single)
    ways: dict[str, Callable[[], float]] = {
        "packed, one pass per trajectory": lambda: ours(options, data, BATCH, options.pack),
        "padded, one pass per trajectory": lambda: ours(options, data, BATCH, 0),
        "packed, one pass per step": lambda: ours(
            options, single, steps * BATCH // TRAJECTORIES, options.pack
        ),
        "plain Trainer, padded": lambda: plain(options, data),
    }
    best = dict.fromkeys(ways, float("inf"))
    products = 0.0
    for _ in range(options.repeats):
        for name, way in ways.items():
            best[name] = min(best[name], way())
        products = max(products, bare(options, data, options.pack))
    report(options, data, steps, best, products)


def report(
    options: argparse.Namespace,
    data: Sequences,
    steps: int,
    best: dict[str, float],
    products: float,
) -> None:
    """Prints the table and the ratios."""
    tokens = sum(map(len, data.ids))
    print(f"{TRAJECTORIES} trajectories, {tokens:,} tokens, {steps / TRAJECTORIES:.1f} steps each")
    for name, took in best.items():
        print(f"{name:34} {took:8.2f} s {tokens / took:10,.0f} trajectory tokens/s")
    ours_best, plain_best, step_best, padded = (
        best[name]
        for name in (
            "packed, one pass per trajectory",
            "plain Trainer, padded",
            "packed, one pass per step",
            "padded, one pass per trajectory",
        )
    )
    reached = operations(options, data) / ours_best
    print(f"bare matrix products               {products / 1e9:8.1f} GFLOP/s")
    print(f"our updates, of the model          {reached / 1e9:8.1f} GFLOP/s")
    print(f"one pass per trajectory / per step {step_best / ours_best:8.2f} x")
    print(f"packed / padded, ours              {padded / ours_best:8.2f} x")
    print(f"ours packed / plain Trainer padded {plain_best / ours_best:8.2f} x")
    print(f"model-flops utilisation            {reached / products:8.1%}")


if __name__ == "__main__":
    main()
