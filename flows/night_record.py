"""The record that ``qstar run --date`` leaves, as a night of a deployment does."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from flows.tables import say
from qstar_core import partitions
from qstar_core.config import RunConfig


def say_record(
    screen: Console,
    config: RunConfig,
    day: datetime.date,
    manifests: Mapping[str, dict[str, Any]],
    begun: str,
) -> None:
    """Puts the record of a partition that ``qstar run`` made, as a deployment's night does.

    Args:
        screen: to print to.
        config: of the run.
        day: the partition.
        manifests: of its stages, by name.
        begun: when the run began: what was published later is its own.
    """
    stages = {
        name: partitions.stage_entry(manifest, made=manifest["created"] >= begun)
        for name, manifest in manifests.items()
    }
    path, _ = partitions.put(config.out, partitions.Record(config.name, "nightly", day, stages))
    say(screen, f"Record of {day}: {path}")
