"""Who follows a training: the progress line, and TensorBoard, MLflow or Weights & Biases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback
from transformers.integrations.integration_utils import (
    MLflowCallback,
    TensorBoardCallback,
    WandbCallback,
)

from qstar_core.errors import UserError
from qstar_core.store import cache
from qstar_core.store.uri import is_remote

Progress = Callable[[int, int, str], None]

CALLBACKS: dict[str, type[TrainerCallback]] = {
    "mlflow": MLflowCallback,
    "wandb": WandbCallback,
}
"""These two are told by their own environment variables where to report to."""


def following(trackers: Sequence[str], uri: str) -> list[TrainerCallback]:
    """The callbacks of some trackers.

    Args:
        trackers: ``tensorboard``, ``mlflow``, ``wandb``.
        uri: of the data set that is made, ``{out}/{stage}/{key}``.

    Raises:
        UserError: the package of one is missing.
    """
    for name in trackers:
        if find_spec(name) is None:
            raise UserError(
                f"runtime.trackers: the package {name} is not installed",
                safe="problems, rollouts and labels are kept",
                next_step=f"pip install {name}, or leave {name} out of runtime.trackers",
            )
    return [_tensorboard(uri) if name == "tensorboard" else CALLBACKS[name]() for name in trackers]


def _tensorboard(uri: str) -> TrainerCallback:
    callback = TensorBoardCallback()
    callback.logging_dir = str(event_folder(uri))
    return callback


def event_folder(uri: str) -> Path:
    """Where TensorBoard's event files of a data set go: ``{out}/logs/{key}``, never on S3.

    Where ``out`` is on S3 they lie in the cache, below ``logs``.
    """
    parts = uri.rstrip("/").split("/")
    if is_remote(uri):
        return cache.folder("logs") / parts[-1]
    return Path(uri).absolute().parent.parent / "logs" / Path(uri).name


class Followed(Protocol):
    """What the progress line tells of a trainer."""

    losses: list[float]
    """Of the updates so far."""

    def pace(self) -> float:
        """Tokens per second."""
        ...


class Reporter(TrainerCallback):
    """Tells how far a training is: updates done, updates in all, loss and speed."""

    def __init__(self, report: Progress) -> None:
        self.report = report
        self.trainer: Followed | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Every ten updates, and at the last."""
        done, of = state.global_step, state.max_steps
        if self.trainer is not None and (done % 10 == 0 or done == of):
            recent = self.trainer.losses[-50:]
            loss, pace = sum(recent) / len(recent), self.trainer.pace()
            self.report(done, of, f"loss {loss:.4f}, {pace:,.0f} tokens/s")
