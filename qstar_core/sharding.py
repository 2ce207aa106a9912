"""How a stage is cut into shards: ranges of problems, and for searches methods and budgets."""

from __future__ import annotations

from typing import Any

from qstar_core.config import RunConfig, SearchConfig
from qstar_core.domains import problem_sets
from qstar_core.stage import SWEEPS, Stage
from qstar_core.store import dataset

LABEL_PROBLEMS = 50_000
LABEL_ROLLOUTS = 800_000
"""At most so many problems and rollouts make a shard of labels; it takes some seconds."""

SINGLE = {"qvm": "model", "prm": "model", "sft": "model", "annotations": "file", "rounds": "table"}
"""Names of the only shard of a stage; pages have ``html``."""

Spec = dict[str, Any]


def parts(stage: Stage, config: RunConfig) -> list[Spec]:
    """What tells the shards of a stage apart: a name, and a range of problems or a method."""
    if stage.name == "problems":
        return [{"shard": split, "split": split} for split in ("train", "test")]
    if stage.kind in ("rollouts", "pool", "labels"):
        size = _labelled(config) if stage.kind == "labels" else config.rollouts.shard_problems
        return [
            {"shard": _range_name(start, stop), "start": start, "stop": stop}
            for start, stop in _ranges(count(stage, config, "train"), size)
        ]
    if stage.kind == "episodes":
        size = config.rollouts.shard_problems
        found = _ranges(count(stage, config, "train"), size)
        return [{"shard": _range_name(a, b), "start": a, "stop": b} for a, b in found]
    if stage.kind == "adaptive" and config.adaptive is not None:
        return [{"shard": name, "learner": name} for name in config.adaptive.learners()]
    if stage.name in ("evaluation", *SWEEPS):
        return _searches(stage, config)
    return [{"shard": SINGLE.get(stage.kind, "html")}]


def _labelled(config: RunConfig) -> int:
    """Problems per shard of labels; within a shard they are taken in turns (`labels.stream`)."""
    return max(1, min(LABEL_PROBLEMS, LABEL_ROLLOUTS // config.rollouts.samples))


def _searches(stage: Stage, config: RunConfig) -> list[Spec]:
    """Method by range of problems and, in a sweep, by budget; budgets are the outermost."""
    ranges = _ranges(count(stage, config, "test"), config.evaluation.shard_problems)
    found = [
        {"shard": f"m{m}-{_range_name(a, b)}", "method": m, "start": a, "stop": b}
        for m in range(len(methods(stage, config)))
        for a, b in ranges
    ]
    if stage.name not in SWEEPS:
        return found
    budgets = getattr(config.comparison, SWEEPS[stage.name])
    return [
        {**part, "shard": f"b{b}-{part['shard']}", "budget": budget}
        for b, budget in enumerate(budgets)
        for part in found
    ]


def methods(stage: Stage, config: RunConfig) -> list[SearchConfig]:
    """The methods that a stage searches with: of the comparison, or of the evaluation."""
    return (config.compared() if stage.name in SWEEPS else config.evaluation).methods


def _ranges(total: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, total)) for start in range(0, total, size)]


def _range_name(start: int, stop: int) -> str:
    return f"p{start:07d}-{stop:07d}"


def count(stage: Stage, config: RunConfig, split: str) -> int:
    """Problems of a split: from the manifest when it is there, else from the configuration.

    How many an imported file has is not known before it is read; they count as 0.
    """
    manifest = dataset.read_manifest(stage.inputs.get("problems", stage.uri))
    if manifest is not None:
        return int(manifest["figures"][split])
    if config.rollouts.import_file is not None and split == "train":
        return 0
    return problem_sets.count(config.domain, split)
