"""What shards are worked on with, in one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasks.workers import WorkerPool

OnEvent = Callable[[dict[str, Any], dict[str, Any]], None]


@dataclass(frozen=True)
class Bench:
    """The pool of workers, its patience, and the display.

    Attributes:
        pool: hands shards to workers.
        stall_timeout_s: seconds without progress after which a worker is killed.
        on_event: told (shard specification, progress event of its worker).
    """

    pool: WorkerPool
    stall_timeout_s: float
    on_event: OnEvent
