"""What is done with a planned stage: its shards, its estimate, its manifest.

The plan itself, with the run keys, is `qstar_core.planning`. Nothing here imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from qstar_core import __version__, environment
from qstar_core.config import RunConfig, SearchConfig
from qstar_core.domains import problem_sets
from qstar_core.errors import UserError
from qstar_core.planning import (
    COMMANDS,
    ROWS_VERSION,
    SWEEPS,
    Stage,
    kind_of,
    made_first,
    plan,
    plan_comparison,
)
from qstar_core.rollouts.figures import check_quarantined, combined
from qstar_core.rollouts.pool_size import largest
from qstar_core.store import dataset
from qstar_core.store.uri import leaf

__all__ = [
    "ALONE",
    "COMMANDS",
    "ROWS_VERSION",
    "SWEEPS",
    "Spec",
    "Stage",
    "check_inputs",
    "estimate",
    "finished",
    "kind_of",
    "made_first",
    "making",
    "plan",
    "plan_comparison",
    "publish",
    "published",
    "shard_tokens",
    "shards",
]

MODELS = ("policy", "backbone", "qvm", "prm", "import_file")
"""Models and files of the user whose fingerprints are among the rows of a stage."""
LABEL_PROBLEMS = 50_000
LABEL_ROLLOUTS = 800_000
"""At most so many problems and rollouts make a shard of labels; it takes some seconds."""
FLAGS = {"pool": " --from-states"}
"""Of the command that makes a kind of data set."""
CARDS = ("rollouts", "pool", "labels")
"""Beginnings of the names of stages whose data sets get a data card."""
ALONE = ("timing",)
"""Stages whose shards run one at a time, because the time they take is the result."""

OF_PROBLEMS = ("unsolvable", "import", "malformed")
"""Figures of problems; the last two of those that were imported with their rollouts."""

Spec = dict[str, Any]


def published(stage: Stage) -> dict[str, Any] | None:
    """The manifest of a stage's data set when it is complete, else None.

    Clears away what a run that was killed after the manifest had left.

    Raises:
        UserError: one of its files is missing or damaged; says how to make it anew.
    """
    manifest = dataset.read_complete(stage.uri)
    if manifest is not None:
        dataset.clear_rubbish(stage.uri, manifest)
    return manifest


def making(stage: Stage, on_wait: Callable[[str], None]) -> AbstractContextManager[None]:
    """Keeps other runs from making a stage's data set at once; see `dataset.making`."""
    return dataset.making(stage.uri, on_wait)


def check_inputs(stage: Stage, apart_from: Sequence[str] = ()) -> None:
    """Makes sure that what a stage reads is there.

    Args:
        stage: which reads it.
        apart_from: names of inputs that are made first.

    Raises:
        UserError: an input is not published or damaged; says which command makes it.
    """
    for name, uri in stage.inputs.items():
        if name not in apart_from and dataset.read_complete(uri) is None:
            kind = kind_of(name)
            command = f"qstar {COMMANDS[kind]} CONFIG" + FLAGS.get(kind, "")
            raise UserError(
                f"{stage.name}: its input {name} is not there yet ({uri})",
                next_step=f"{command}, or qstar run CONFIG for everything",
            )


def shards(stage: Stage, config: RunConfig) -> list[Spec]:
    """The shard specifications of a stage, to hand to workers.

    Raises:
        UserError: an input is not published or damaged; says which command makes it.
    """
    check_inputs(stage)
    cores = os.cpu_count() or 1
    base: Spec = {
        "stage": stage.name,
        "uri": stage.uri,
        "key": stage.key,
        "inputs": stage.inputs,
        "config": config.model_dump(mode="json"),
        "threads": config.runtime.threads or cores,
        "models": {n: stage.rows[n] for n in MODELS if n in stage.rows},
    }
    if "method" in stage.rows:
        base["method"] = stage.rows["method"]  # of labels: a round may have another than the run
    parts = _parts(stage, config)
    if len(parts) > 1 and stage.name not in ALONE:
        share = max(1, cores // min(config.runtime.workers, len(parts)))
        base["threads"] = config.runtime.threads or share
    return [{**base, "of": len(parts), **part} for part in parts]


def _parts(stage: Stage, config: RunConfig) -> list[Spec]:
    if stage.name == "problems":
        return [{"shard": split, "split": split} for split in ("train", "test")]
    if stage.kind in ("rollouts", "pool", "labels"):
        size = _labelled(config) if stage.kind == "labels" else config.rollouts.shard_problems
        return [
            {"shard": _range_name(start, stop), "start": start, "stop": stop}
            for start, stop in _ranges(_count(stage, config, "train"), size)
        ]
    if stage.name in ("evaluation", *SWEEPS):
        return _searches(stage, config)
    return [{"shard": "model" if stage.kind == "qvm" else "html"}]


def _labelled(config: RunConfig) -> int:
    """Problems per shard of labels; within a shard they are taken in turns (`labels.stream`)."""
    return max(1, min(LABEL_PROBLEMS, LABEL_ROLLOUTS // config.rollouts.samples))


def _searches(stage: Stage, config: RunConfig) -> list[Spec]:
    """Method by range of problems and, in a sweep, by budget; budgets are the outermost."""
    ranges = _ranges(_count(stage, config, "test"), config.evaluation.shard_problems)
    parts = [
        {"shard": f"m{m}-{_range_name(a, b)}", "method": m, "start": a, "stop": b}
        for m in range(len(_methods(stage, config)))
        for a, b in ranges
    ]
    if stage.name not in SWEEPS:
        return parts
    budgets = getattr(config.comparison, SWEEPS[stage.name])
    return [
        {**part, "shard": f"b{b}-{part['shard']}", "budget": budget}
        for b, budget in enumerate(budgets)
        for part in parts
    ]


def _methods(stage: Stage, config: RunConfig) -> list[SearchConfig]:
    return (config.compared() if stage.name in SWEEPS else config.evaluation).methods


def _ranges(total: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, total)) for start in range(0, total, size)]


def _range_name(start: int, stop: int) -> str:
    return f"p{start:07d}-{stop:07d}"


def _count(stage: Stage, config: RunConfig, split: str) -> int:
    """Problems of a split: from the manifest when it is there, else from the configuration.

    How many an imported file has is not known before it is read; they count as 0.
    """
    manifest = dataset.read_manifest(stage.inputs.get("problems", stage.uri))
    if manifest is not None:
        return int(manifest["figures"][split])
    if config.rollouts.import_file is not None and split == "train":
        return 0
    return problem_sets.count(config.domain, split)


def finished(spec: Spec) -> dict[str, Any] | None:
    """The receipt of a shard that is already on disk, else None.

    One that lacks problems is tried again for as long as its data set is not published.
    """
    receipt = dataset.finished_shard(spec["uri"], spec["shard"])
    return None if receipt is None or receipt["figures"].get("quarantined") else receipt


def publish(stage: Stage, config: RunConfig, receipts: list[dict[str, Any]]) -> dict[str, Any]:
    """Puts the manifest of a stage whose shards are all finished.

    Returns:
        The manifest.

    Raises:
        UserError: rollouts lack more problems than ``rollouts.max_quarantined`` allows.
    """
    head = {
        "kind": stage.kind,
        "key": stage.key,
        "uri": stage.uri,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows_from": stage.rows,
        "config": config.model_dump(mode="json"),
        "inputs": {name: leaf(uri) for name, uri in stage.inputs.items()},
        "figures": _figures(stage, config, receipts),
        # of the workers that made the shards; empty where a receipt does not say
        "environment": environment.merge(r.get("environment", {}) for r in receipts),
        "code": {"qstar": __version__, "rows_version": ROWS_VERSION[stage.kind]},
    }
    return dataset.publish(stage.uri, head, receipts, _documents(stage, config, head, receipts))


def _documents(
    stage: Stage, config: RunConfig, head: dict[str, Any], receipts: list[dict[str, Any]]
) -> dict[str, bytes]:
    """The data card of a stage that makes data to be given away."""
    if not stage.name.startswith(CARDS):
        return {}
    from qstar_core.audit.card import NAME, card

    files = [entry for receipt in receipts for entry in receipt["files"]]
    rows = dataset.verified(stage.uri, files)
    return {NAME: card(head, config.card, rows, stage.inputs).encode()}


def _figures(stage: Stage, config: RunConfig, receipts: list[dict[str, Any]]) -> dict[str, Any]:
    if stage.kind in ("rollouts", "pool"):
        figures = combined(receipts)
        total = _count(stage, config, "train")
        check_quarantined(figures["quarantined"], total, config.rollouts.max_quarantined)
        return figures
    if stage.name == "problems":
        figures = {r["shard"]: r["rows"] for r in receipts}
        told = [item for r in receipts for item in r["figures"].items()]
        return figures | {name: value for name, value in told if name in OF_PROBLEMS and value}
    if stage.kind == "labels":
        from qstar_core.labels.stream import combined as combined_labels

        return combined_labels([r["figures"] for r in receipts])
    if stage.name in ("evaluation", *SWEEPS):
        from qstar_core.evaluation.summary import summarise, summarise_sweep

        files = [entry for receipt in receipts for entry in receipt["files"]]
        summary = summarise_sweep if stage.name in SWEEPS else summarise
        return summary(dataset.verified(stage.uri, files), receipts, config)
    figures = receipts[0]["figures"] if len(receipts) == 1 else {}
    return dict(figures)


def estimate(stage: Stage, config: RunConfig) -> dict[str, Any]:
    """What a stage will take: shards, units of work and policy tokens (an upper estimate)."""
    train, test = (_count(stage, config, split) for split in ("train", "test"))
    rollouts = train * config.rollouts.samples
    known, unit = (train + test, "problems"), "rollouts"
    if config.rollouts.import_file is not None:
        rollouts, known = _imported_rollouts(stage), (1, "file")
        unit = "rollouts" if rollouts else "uncounted rollouts"
    searches = test * len(_methods(stage, config))
    sizes: dict[str, tuple[int, str]] = {
        "problems": known,
        "rollouts": (rollouts, unit),
        "pool": _pool_units(stage, config, train),
        "labels": (rollouts, unit),
        "qvm": (round(rollouts * config.qvm.epochs), "trajectories"),
        "evaluation": (searches, "searches"),
        "comparison": (searches * len(config.comparison.tokens), "searches"),
        "timing": (searches * len(config.comparison.seconds), "searches"),
        "report": (1, "report"),
        "comparison_report": (1, "report"),
    }
    units, unit = sizes[stage.kind]
    parts = _parts(stage, config)
    tokens = sum(shard_tokens(stage, config, part) for part in parts)
    return {"shards": len(parts), "units": units, "unit": unit, "policy_tokens": tokens}


def _pool_units(stage: Stage, config: RunConfig, problems: int) -> tuple[int, str]:
    """Samples or searches of a pool at most, and their unit."""
    units, _ = _largest(stage, config)
    mcts = any(pool.kind == "mcts" for pool in config.pools if pool.stage == stage.name)
    return problems * units, "searches" if mcts else "rollouts"


def _largest(stage: Stage, config: RunConfig) -> tuple[int, int]:
    """Samples and policy tokens of a pool per problem, at most; 0 where the stage is none."""
    for pool in config.pools:
        if pool.stage == stage.name:
            return largest(pool, config.rollouts.samples, config.domain.ranges.numbers)
    return 0, 0


def shard_tokens(stage: Stage, config: RunConfig, part: Spec) -> int:
    """Policy tokens that a shard will generate, an upper estimate.

    How many a search under a limit of seconds generates is not known; they count as 0.

    Args:
        stage: which it is a shard of.
        config: of the run.
        part: its specification.
    """
    problems = part.get("stop", 0) - part.get("start", 0)
    if stage.kind == "pool":
        return int(problems * _largest(stage, config)[1])
    rollout = problem_sets.expected_tokens(config.domain, config.rollouts.max_new_tokens)
    if stage.name == "rollouts" and config.rollouts.import_file is None:
        return int(problems * config.rollouts.samples * rollout)
    if stage.name not in ("evaluation", "comparison"):
        return 0
    method = _methods(stage, config)[part["method"]]
    budget = part.get("budget", config.evaluation.max_policy_tokens)
    return int(problems * (min(rollout, budget) if method.algorithm == "greedy" else budget))


def _imported_rollouts(stage: Stage) -> int:
    """Samples of the imported file; 0 before it is read."""
    manifest = dataset.read_manifest(stage.inputs.get("problems", stage.uri)) or {}
    return int(manifest.get("figures", {}).get("import", {}).get("samples", 0))
