"""Disk and memory of a stage, looked at before it starts: work must not end in a full one.

The estimates are upper ones and rough. What they cannot see is left out: memory of GPUs, of vLLM,
of servers, and of the machines of a Ray cluster. ``runtime.min_free_gb: 0`` turns both off.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import psutil

from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.policies.identity import backbone, sft_base
from qstar_core.stage import Stage
from qstar_core.store import open_store
from qstar_core.store.uri import is_remote

GB = 1e9
BYTES_PER_TOKEN = 32  # of Parquet, with prompts, steps and search trees; 6 to 20 were seen
TRAINED_COPIES = 4  # weights, two moments of the optimizer, and the weights that are published
SAFE = "finished shards and published data sets are on disk and will be kept"
CGROUP = Path("/sys/fs/cgroup")
GPU = Path("/dev/nvidia0")
TRAINS = ("qvm", "prm", "sft")
SEARCHES = ("evaluation", "comparison", "timing")
GENERATES = ("rollouts", "pool", "episodes", *SEARCHES)


def check_room(
    stage: Stage, config: RunConfig, estimate: dict[str, Any], finished: int = 0
) -> None:
    """Makes sure that a stage finds the disk and the memory that it will need.

    Args:
        stage: about to start; its inputs are published.
        config: of the run.
        estimate: of `qstar_core.estimate`: its ``policy_tokens`` and ``shards``.
        finished: shards that are there already and will not be written again.

    Raises:
        UserError: one of the two is too small; says how much is there, is needed, and what helps.
    """
    if config.runtime.min_free_gb == 0.0:
        return
    shards = max(1, int(estimate["shards"]))
    left = shards - finished
    if is_remote(stage.uri):  # a file is removed here once it is uploaded
        left = min(left, config.runtime.workers)
    check_disk(stage, config, int(estimate["policy_tokens"]) * left // shards)
    check_memory(stage, config)


def check_disk(stage: Stage, config: RunConfig, tokens: int) -> None:
    """As `check_room`, of the disk that a stage writes to; for S3, that of the scratch files.

    Args:
        stage: about to start.
        config: of the run.
        tokens: whose shards will be on it at once.
    """
    place = open_store(stage.uri).lock_path().absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    written = tokens * BYTES_PER_TOKEN
    if stage.kind in TRAINS:
        written += TRAINED_COPIES * start_bytes(stage, config)
    needed = written + config.runtime.min_free_gb * GB
    if free < needed:
        raise UserError(
            f"{stage.name}: {free / GB:.1f} GB are free below {place}; it may write "
            f"{written / GB:.1f} GB, and runtime.min_free_gb leaves {config.runtime.min_free_gb:g}",
            safe=SAFE,
            next_step="free space there (qstar gc OUT lists what no run needs), or set "
            "runtime.min_free_gb lower; then run the same command again",
        )


def check_memory(stage: Stage, config: RunConfig) -> None:
    """As `check_room`, of the memory for the weights of the workers' models."""
    if config.runtime.runner != "local" or GPU.exists():
        return
    workers, each = 1, 0
    if stage.kind in TRAINS:
        each = TRAINED_COPIES * start_bytes(stage, config)
    elif stage.kind in GENERATES:
        workers, each = config.runtime.workers, _policy_bytes(config)
        if stage.kind in SEARCHES and "qvm" in stage.inputs:
            each += start_bytes(stage, config)
    free = available_memory()
    if workers * each > free:
        fit = int(free // each)
        step = "stop what else runs here, or take a machine with more memory"
        if 1 <= fit < workers:
            step = f"add --set runtime.workers={fit}, or take a machine with more memory"
        raise UserError(
            f"{stage.name}: {free / GB:.1f} GB of memory are available; the weights of its models "
            f"take {each / GB:.1f} GB in each of its {workers} worker processes",
            safe=SAFE,
            next_step=f"{step}; then run the same command again",
        )


def start_bytes(stage: Stage, config: RunConfig) -> int:
    """Bytes of the checkpoint that a stage's trained model started from."""
    if config.policy.without_weights and config.qvm.init is None:
        return 0
    if stage.kind == "sft":
        return weights(sft_base(config)[0])
    return weights(backbone(config, "prm" if stage.kind == "prm" else "qvm")[0])


def _policy_bytes(config: RunConfig) -> int:
    policy = config.policy
    if policy.backend != "transformers" or policy.without_weights:
        return 0
    return weights(resolve_checkpoint(policy.path, "policy.path"))


def weights(folder: Path) -> int:
    """Bytes of a checkpoint's weights; 0 where it is not there yet."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def available_memory(root: Path = CGROUP) -> float:
    """Bytes of memory that may still be taken: the machine's, or what a container's limit leaves.

    Args:
        root: where the limits of this control group (version 2) are.
    """
    free = float(psutil.virtual_memory().available)
    try:
        limit, used = ((root / f"memory.{name}").read_text() for name in ("max", "current"))
        return min(free, max(0.0, float(limit) - float(used)))
    except (OSError, ValueError):  # no such files, or "max"
        return free
