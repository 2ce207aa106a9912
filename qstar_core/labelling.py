"""The label method of a shard, with what it reads besides the paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import polars as pl

from qstar_core.config import RunConfig
from qstar_core.labels import METHODS
from qstar_core.labels.fitted_q import candidate_actions
from qstar_core.loading import load_value
from qstar_core.planning import kind_of
from qstar_core.store import dataset

Label = Callable[[pl.LazyFrame], pl.LazyFrame]
Spec = dict[str, Any]


def input_of(spec: Spec, kind: str) -> str | None:
    """Folder of the data set of a kind that a shard reads, None where it reads none."""
    found = [uri for name, uri in spec["inputs"].items() if kind_of(name) == kind]
    return found[0] if found else None


def labeller(
    spec: Spec,
    config: RunConfig,
    prompts: Mapping[str, str],
    progress: Callable[[int, int, str, str], None],
) -> Label:
    """Labels of paths by the method of a shard.

    That of the run, or in the first round of fitted Q iteration the one that ``labels.start``
    names. A later round has a Q-value model among its inputs: it scores the stored candidates.

    Args:
        spec: of the shard; ``method`` names the method.
        config: of the run.
        prompts: prompt text by problem id.
        progress: told of the scored actions.
    """
    method, gamma = spec["method"], config.labels.gamma
    own = config.labels.model_copy(update={"method": method}).parameters()
    label = partial(METHODS[method], gamma=gamma, **own)
    if method != "fitted_q":
        return label
    folder = input_of(spec, "qvm")
    if folder is None:  # the first round: Q_0 = 0
        nothing = pl.LazyFrame(schema={"action_id": pl.String, "value": pl.Float64})
        return partial(label, values=nothing)
    return _scored(folder, config, prompts, label, progress)


def _scored(
    folder: str,
    config: RunConfig,
    prompts: Mapping[str, str],
    label: Callable[..., pl.LazyFrame],
    progress: Callable[[int, int, str, str], None],
) -> Label:
    from qstar_core.values.candidates import candidate_values

    value = load_value(dataset.local_folder(folder), config)

    def fitted(paths: pl.LazyFrame) -> pl.LazyFrame:
        actions = candidate_actions(paths, config.labels.candidates).collect()
        wanted = set(actions["action_id"])
        scored = 0

        def done(count: int) -> None:
            nonlocal scored
            scored += count
            progress(scored, max(scored + 1, len(wanted)), "actions", "scored by the round before")

        values = candidate_values(paths, prompts, value, wanted, done)
        return label(paths, values=values.lazy())

    return fitted
