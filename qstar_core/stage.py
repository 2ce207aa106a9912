"""One stage of a run: its kind, its run key, what it reads, where its data set lies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from qstar_core.keys import ID_DIGITS, content_id
from qstar_core.store.uri import join

ROWS_VERSION = {
    "problems": 1,
    "rollouts": 1,
    "pool": 1,
    "labels": 3,
    "qvm": 2,
    "annotations": 1,
    "prm": 1,
    "sft": 1,
    "episodes": 2,
    "adaptive": 1,
    "evaluation": 4,
    "report": 2,
    "rounds": 1,
    "comparison": 3,
    "timing": 3,
    "comparison_report": 1,
}
"""Raised by hand when a stage would give other rows for the same configuration."""
COMMANDS = {
    "problems": "rollouts",
    "rollouts": "rollouts",
    "pool": "rollouts",
    "labels": "label",
    "qvm": "train-qvm",
    "annotations": "train-prm",
    "prm": "train-prm",
    "sft": "train-policy",
    "episodes": "train-adaptive",
    "adaptive": "train-adaptive",
    "evaluation": "evaluate",
    "report": "report",
    "rounds": "run",
    "comparison": "compare",
    "timing": "compare",
    "comparison_report": "compare",
}
"""Which command makes a kind of data set."""
SWEEPS = {"comparison": "tokens", "timing": "seconds"}
"""Stages that search over a sweep of budgets, and the field with their budgets."""
SEVERAL = ("pool", "labels", "qvm", "evaluation")
"""Kinds of which a run may have several stages: ``pool_NAME``, ``labels_1``, ``labels_prm``,
``qvm_1``; the ``evaluation_2`` is that of the second round of expert iteration."""
FINE_TUNED = re.compile(rf"(?:.*/)?sft/([0-9a-f]{{{ID_DIGITS}}})/?")
"""Where a run puts a fine-tuned policy."""


def fine_tuned(path: str) -> str | None:
    """The run key of a fine-tuned policy that a path names, made or yet to be; else None."""
    found = FINE_TUNED.fullmatch(path)
    return found[1] if found else None


def kind_of(name: str) -> str:
    """What a stage makes, by its name: a key of `ROWS_VERSION`, and the folder of its data set."""
    kind = name.partition("_")[0]
    return kind if kind in SEVERAL else name


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: unique in the run; see `kind_of`.
        key: its run key.
        uri: folder of its data set.
        inputs: folders of the data sets it reads, by stage name.
        rows: what the key hashes.
    """

    name: str
    key: str
    uri: str
    inputs: dict[str, str]
    rows: dict[str, Any]

    @property
    def kind(self) -> str:
        """What it makes; see `kind_of`."""
        return kind_of(self.name)


def add(stages: dict[str, Stage], out: str, name: str, rows: dict[str, Any], *inputs: str) -> None:
    """Adds a stage to those of a run.

    Args:
        stages: those before it, by name.
        out: folder of all data sets.
        name: of the stage.
        rows: what decides its rows, and so its key.
        inputs: names of the stages whose data sets it reads.
    """
    kind = kind_of(name)
    rows = {"stage": kind, "rows_version": ROWS_VERSION[kind], **rows}
    key = content_id(rows)
    read = {i: stages[i].uri for i in inputs}
    stages[name] = Stage(name, key, join(out, f"{kind}/{key}"), read, rows)
