"""One of several processes that train together on a CPU: ``python -m ... OUT``, ranks by torchrun's
environment variables; the first one writes the losses of the updates to OUT/losses.json."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from qstar_core.config import QvmConfig
from qstar_core.values.data import training_order
from qstar_core.values.model import initialise
from qstar_core.values.trainer import ValueTrainer, arguments
from tests.models import tiny_policy
from tests.values.labelled import sequences

UPDATES, SIZE = 12, 16


def main(out: Path) -> None:
    torch.set_num_threads(1)
    config = QvmConfig(batch_size=SIZE, bf16=False, learning_rate=0.01, optimizer="adamw")
    data = sequences()
    order = training_order(data, SIZE, UPDATES, 0, "trajectory")
    args = arguments(out, config, UPDATES, SIZE, 0, False)
    model = initialise(tiny_policy(), 0)
    model.set_attn_implementation("eager")
    trainer = ValueTrainer(model, data, data, order, config, args)
    trainer.train()
    if args.process_index == 0:
        found = {"losses": trainer.losses, "processes": args.world_size}
        (out / "losses.json").write_text(json.dumps(found), encoding="utf-8")
    if args.world_size > 1:
        # The group is not taken down: its destructor joins a thread while it holds the GIL, and
        # that thread may be waiting for the GIL to let go of the last gathered tensor (torch 2.13,
        # gloo).
        torch.distributed.barrier()
        os._exit(0)


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main(Path(sys.argv[1]))
