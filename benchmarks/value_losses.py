"""What each loss and each label method gives a Q-value model, over seeds, on countdown.

    python benchmarks/value_losses.py [--size full] [--seeds 3] [--losses mse,bce,ranking]
        [--methods best_of_rollouts,mean_of_rollouts,soft] [--out results/value-losses]

Samples rollouts once, labels them by each method, and trains a model for each loss, method and
seed. A seed decides the head, the order of the batches and which problems are held out; the
rollouts are the same for all. What is there is kept, so an interrupted run goes on, and a larger
``--seeds`` or another method adds rows.

The table has means over seeds, and the standard deviations between them: AUC of the held-out steps
against the exact Q*, calibration error after scaling (ECE), and regret of the largest Q among
siblings, against Q* too. ranking is scaled with a shift (``calibration: platt``), which it needs;
the others by a temperature. Methods that read a pool are not among them: those of
deployments/label-audit.yaml are compared by ``qstar audit``.

``--size small`` is for a look: fewer problems, a third of the updates. ``full`` is the demo's.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from qstar_core import environment, pipeline  # noqa: E402
from qstar_core.config import RunConfig  # noqa: E402
from qstar_core.config_file import load_config  # noqa: E402
from qstar_core.jobs import JOBS  # noqa: E402
from qstar_core.values.side_by_side import FIGURES, means, model_row  # noqa: E402

CONFIG = ROOT / "deployments/demo.yaml"
SIZES = {
    "tiny": ["domain.train_problems=60", "rollouts.samples=4", "qvm.epochs=1", "qvm.holdout=0.5"],
    "small": ["domain.train_problems=1500", "qvm.epochs=4", "qvm.holdout=0.2"],
    "full": [],
}
METHODS = ("best_of_rollouts", "mean_of_rollouts", "soft", "fitted_q")
LOSSES = ("mse", "bce", "ranking")
SHOWN = [name for name in FIGURES if name not in ("brier", "ece_before")]


def runs(options: argparse.Namespace) -> Iterator[RunConfig]:
    """The run of each method, loss and seed."""
    common = [*SIZES[options.size], f"out={options.out}", *options.overrides]
    for method in options.methods:
        for loss in options.losses:
            own = [f"labels.method={method}", f"qvm.loss={loss}"]
            own += ["qvm.calibration=platt"] if loss == "ranking" else []
            for seed in range(options.seeds):
                yield load_config(CONFIG, [*common, *own, f"qvm.seed={seed}"])


def model_of(config: RunConfig) -> dict[str, Any]:
    """The row of a run's model; what is not there is made."""
    labels: dict[str, Any] = {}
    for stage in pipeline.plan(config).values():
        manifest = pipeline.published(stage) or made(stage, config)
        if stage.kind == "labels":
            labels = manifest
        if stage.name == "qvm":
            return model_row(manifest, labels)
    raise AssertionError("a run without a model")


def made(stage: pipeline.Stage, config: RunConfig) -> dict[str, Any]:
    """Makes a data set in this process; its manifest."""
    with pipeline.making(stage, lambda what: print(what, file=sys.stderr)):
        receipts = []
        for spec in pipeline.shards(stage, config):
            own = {**spec, "environment": environment.describe()}
            receipt = pipeline.finished(spec) or JOBS[stage.kind](own, config, quiet)
            receipts.append(receipt)
        print(f"made {stage.uri}", file=sys.stderr)
        return pipeline.publish(stage, config, receipts)


def quiet(*_: Any) -> None:
    """No progress."""


def lines(rows: list[dict[str, Any]], averages: list[dict[str, Any]]) -> Iterator[str]:
    """The table, in Markdown."""
    yield "| loss | labels | seeds | " + " | ".join(name.replace("_", " ") for name in SHOWN) + " |"
    yield "|---|---|---|" + "---|" * len(SHOWN)
    for mean in averages or [{**row, "models": 1, "sd": {}} for row in rows]:
        cells = []
        for name in SHOWN:
            spread = mean["sd"].get(name)
            told = "-" if mean[name] is None else f"{mean[name]:.3f}"
            cells.append(told if spread is None else f"{told} ({spread:.3f})")
        head = mean["loss"], mean["labels"], str(mean["models"])
        yield "| " + " | ".join([*head, *cells]) + " |"


def listed(known: tuple[str, ...]) -> Any:
    """A type of argparse: some of the known names, commas between them."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := sorted(set(names) - set(known)):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose of {', '.join(known)}")
        return names

    return parse


def main() -> None:
    """Makes what is not there and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--losses", type=listed(LOSSES), default=list(LOSSES))
    parser.add_argument("--methods", type=listed(METHODS), default=list(METHODS[:3]))
    parser.add_argument("--out", default="results/value-losses")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows = [model_of(config) for config in runs(options)]
    updates = sorted({row["updates"] for row in rows})
    print(f"{rows[0]['trajectories']:,} trajectories, {updates[0]:,} to {updates[-1]:,} updates")
    for line in lines(rows, means(rows)):
        print(line)


if __name__ == "__main__":
    main()
