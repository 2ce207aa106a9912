"""The label method of a shard, with what it reads besides the paths."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import polars as pl

from qstar_core.config import LabelsConfig, RunConfig
from qstar_core.labels import METHODS
from qstar_core.labels.fitted_q import candidate_actions
from qstar_core.loading import load_value
from qstar_core.stage import kind_of
from qstar_core.store import dataset

Label = Callable[[pl.LazyFrame], pl.LazyFrame]
Progress = Callable[[int, int, str, str], None]
Spec = dict[str, Any]


def input_of(spec: Spec, kind: str) -> str | None:
    """Folder of the data set of a kind that a shard reads, None where it reads none."""
    found = [uri for name, uri in spec["inputs"].items() if kind_of(name) == kind]
    return found[0] if found else None


def labeller(spec: Spec, config: RunConfig, progress: Progress) -> tuple[LabelsConfig, Label]:
    """How a shard is labelled.

    By the method of the run, in the first round of fitted Q iteration by the one that
    ``labels.start`` names, for a process reward model by its own. A later round has
    a Q-value model among its inputs, which scores the stored candidates.

    Args:
        spec: of the shard; ``method`` and ``gamma`` are its own.
        config: of the run.
        progress: told of the scored actions.

    Returns:
        The settings of the method, and the labels of the paths of whole problems by it.
    """
    own: dict[str, Any] = {name: spec[name] for name in ("method", "gamma") if name in spec}
    settings = config.labels.model_copy(update=own)
    method = METHODS[settings.method]
    label = partial(method, gamma=settings.gamma, **settings.parameters())
    if settings.method != "fitted_q":
        return settings, label
    folder = input_of(spec, "qvm")
    if folder is None:  # the first round: Q_0 = 0
        nothing = pl.LazyFrame(schema={"action_id": pl.String, "value": pl.Float64})
        return settings, partial(label, values=nothing)
    return settings, _scored(folder, spec, config, label, progress)


def _scored(
    folder: str,
    spec: Spec,
    config: RunConfig,
    label: Callable[..., pl.LazyFrame],
    progress: Progress,
) -> Label:
    """Labels from the values that the Q-value model in a folder gives to the candidates."""
    from qstar_core.values.candidates import candidate_values

    value = load_value(dataset.local_folder(folder), config)
    known = pl.scan_parquet(dataset.data_files(spec["inputs"]["problems"]))
    prompts = dict(known.select("problem_id", "prompt").collect().iter_rows())

    def fitted(paths: pl.LazyFrame) -> pl.LazyFrame:
        actions = candidate_actions(paths, config.labels.candidates).select("action_id").collect()
        wanted = set(actions["action_id"])
        scored = 0

        def done(count: int) -> None:
            nonlocal scored
            scored += count
            progress(scored, max(scored + 1, len(wanted)), "actions", "scored by the round before")

        values = candidate_values(paths, prompts, value, wanted, done)
        return label(paths, values=values.lazy())

    return fitted
