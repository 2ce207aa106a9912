"""The plan of a run: its stages, their run keys, where their data sets lie, their shards.

A run key hashes the fields of the configuration that can change a row, the identity of the
inputs, and the version of the code that shapes the rows (`ROWS_VERSION`, raised by hand when a
stage would give other rows for the same configuration). All keys are known before anything runs.
Nothing here imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from qstar_core import __version__, environment
from qstar_core.config import RunConfig
from qstar_core.domains import DOMAINS, countdown, countdown_problems
from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.policies import scoring
from qstar_core.policies.checkpoint import backbone, identity
from qstar_core.policies.served import addresses
from qstar_core.rollouts.figures import check_quarantined, combined
from qstar_core.store import dataset, open_store
from qstar_core.store.uri import join, leaf

ROWS_VERSION = {
    "problems": 1,
    "rollouts": 1,
    "labels": 1,
    "qvm": 1,
    "evaluation": 2,
    "report": 1,
}
COMMANDS = {
    "problems": "rollouts",
    "rollouts": "rollouts",
    "labels": "label",
    "qvm": "train-qvm",
    "evaluation": "evaluate",
    "report": "report",
}

MODELS = ("policy", "backbone", "qvm", "prm")  # whose fingerprints are among the rows of a stage
LABEL_PROBLEMS = 50_000  # problems per label shard: labelling takes milliseconds per thousand

Spec = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: a key of `ROWS_VERSION`.
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


def plan(config: RunConfig) -> dict[str, Stage]:
    """The stages of a run in order; those that train a QVM are left out if one is given.

    Raises:
        UserError: a checkpoint or problem file is missing or malformed, or the output folder
            cannot be written, or its bucket not be reached.
    """
    open_store(config.out).check("out")
    addresses(config.policy.server)  # of every backend: they are written into specifications
    policy = identity(config.policy)
    train, test = (_problem_set(config, split) for split in ("train", "test"))
    stages: dict[str, Stage] = {}

    def add(name: str, rows: dict[str, Any], *inputs: str) -> None:
        rows = {"stage": name, "rows_version": ROWS_VERSION[name], **rows}
        key = content_id(rows)
        read = {i: stages[i].uri for i in inputs}
        stages[name] = Stage(name, key, join(config.out, f"{name}/{key}"), read, rows)

    add("problems", {"train": train, "test": test})
    if config.qvm.path is None:
        sampling = {"policy": policy, "seed": config.seed, **config.rollouts.rows()}
        add("rollouts", {"problems": train, **sampling, **_policy_shape(config)}, "problems")
        grader = _grader(config)
        labels = {"rollouts": stages["rollouts"].key, "grader": grader, **config.labels.rows()}
        add("labels", labels, "problems", "rollouts")
        _, start = backbone(config)
        fit = {"labels": stages["labels"].key, "backbone": start, "seed": config.seed}
        add("qvm", {**fit, **scoring.training(config.qvm)}, "problems", "labels")
        value = stages["qvm"].key
    else:
        value = scoring.given_value(config.qvm)
    search = {"policy": policy, "qvm": value, "seed": config.seed, **config.evaluation.rows()}
    search |= {"max_new_tokens": config.rollouts.max_new_tokens, **_policy_shape(config)}
    search |= scoring.scoring(config.qvm)
    search |= scoring.rewarding(config.prm, config.evaluation.methods)
    reads = ["problems", *(["qvm"] if "qvm" in stages else [])]
    add("evaluation", {"problems": test, "grader": _grader(config), **search}, *reads)
    trees = config.evaluation.report_trees
    shown = {"evaluation": stages["evaluation"].key, "trees": trees, "name": config.name}
    add("report", shown, "evaluation", *reads)
    return stages


def _policy_shape(config: RunConfig) -> dict[str, Any]:
    """What else decides a sample below float64, where results depend on the batch's shape.

    Servers make their batches themselves.
    """
    policy = config.policy
    if policy.dtype == "float64" or policy.backend == "server":
        return {}
    return {"device": policy.device, "batch_size": policy.batch_size}


def _grader(config: RunConfig) -> list[str]:
    domain = DOMAINS[config.domain.name]
    return [domain.GRADER, domain.GRADER_VERSION]


def _problem_set(config: RunConfig, split: str) -> dict[str, Any]:
    """What decides the problems of a split: count, and the file's content or ranges and seed.

    Generated ones leave out those of the other split's file, so these decide as well.
    """
    domain = config.domain
    countdown_problems.check_disjoint(domain)  # every row is checked before anything starts
    shape = {
        "domain": domain.name,
        "split": split,
        "count": countdown_problems.count(domain, split),
    }
    file = countdown_problems.given(domain, split)
    if file is not None:
        return {**shape, "file": file.sha256}
    shape |= {"seed": config.seed, "ranges": domain.ranges.rows()}
    left_out = countdown_problems.left_out(domain, split)
    return {**shape, "left_out": content_id(sorted(left_out))} if left_out else shape


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


def shards(stage: Stage, config: RunConfig) -> list[Spec]:
    """The shard specifications of a stage, to hand to workers.

    Raises:
        UserError: an input is not published or damaged; says which command makes it.
    """
    for name, uri in stage.inputs.items():
        if dataset.read_complete(uri) is None:
            raise UserError(
                f"{stage.name}: its input {name} is not there yet ({uri})",
                next_step=f"qstar {COMMANDS[name]} CONFIG, or qstar run CONFIG for everything",
            )
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
    parts = _parts(stage, config)
    if len(parts) > 1:
        share = max(1, cores // min(config.runtime.workers, len(parts)))
        base["threads"] = config.runtime.threads or share
    return [{**base, "of": len(parts), **part} for part in parts]


def _parts(stage: Stage, config: RunConfig) -> list[Spec]:
    if stage.name == "problems":
        return [{"shard": split, "split": split} for split in ("train", "test")]
    if stage.name in ("rollouts", "labels"):
        size = config.rollouts.shard_problems if stage.name == "rollouts" else LABEL_PROBLEMS
        return [
            {"shard": _range_name(start, stop), "start": start, "stop": stop}
            for start, stop in _ranges(_count(stage, config, "train"), size)
        ]
    if stage.name == "evaluation":
        size = config.evaluation.shard_problems
        ranges = _ranges(_count(stage, config, "test"), size)
        return [
            {"shard": f"m{m}-{_range_name(a, b)}", "method": m, "start": a, "stop": b}
            for m in range(len(config.evaluation.methods))
            for a, b in ranges
        ]
    return [{"shard": {"qvm": "model", "report": "html"}[stage.name]}]


def _ranges(total: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, total)) for start in range(0, total, size)]


def _range_name(start: int, stop: int) -> str:
    return f"p{start:07d}-{stop:07d}"


def _count(stage: Stage, config: RunConfig, split: str) -> int:
    """Problems of a split: from the manifest when it is there, else from the configuration."""
    manifest = dataset.read_manifest(stage.inputs.get("problems", stage.uri))
    if manifest is not None:
        return int(manifest["figures"][split])
    return countdown_problems.count(config.domain, split)


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
    figures: dict[str, Any] = {}
    if stage.name == "rollouts":
        figures = combined(receipts)
        total = _count(stage, config, "train")
        check_quarantined(figures["quarantined"], total, config.rollouts.max_quarantined)
    elif stage.name == "problems":
        figures = {r["shard"]: r["rows"] for r in receipts}
    elif len(receipts) == 1:
        figures = receipts[0]["figures"]
    elif stage.name == "evaluation":
        from qstar_core.evaluation.summary import summarise

        files = [entry for receipt in receipts for entry in receipt["files"]]
        figures = summarise(dataset.verified(stage.uri, files), receipts, config)
    head = {
        "kind": stage.name,
        "key": stage.key,
        "uri": stage.uri,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows_from": stage.rows,
        "config": config.model_dump(mode="json"),
        "inputs": {name: leaf(uri) for name, uri in stage.inputs.items()},
        "figures": figures,
        # of the workers that made the shards; empty where a receipt does not say
        "environment": environment.merge(r.get("environment", {}) for r in receipts),
        "code": {"qstar": __version__, "rows_version": ROWS_VERSION[stage.name]},
    }
    return dataset.publish(stage.uri, head, receipts)


def estimate(stage: Stage, config: RunConfig) -> dict[str, Any]:
    """What a stage will take: shards, units of work and policy tokens (an upper estimate)."""
    train, test = (_count(stage, config, split) for split in ("train", "test"))
    rollout = countdown.expected_tokens(config.domain.ranges.numbers)
    rollouts = train * config.rollouts.samples
    searches = test * len(config.evaluation.methods)
    budget = config.evaluation.max_policy_tokens
    tokens = sum(
        test * (min(rollout, budget) if m.algorithm == "greedy" else budget)
        for m in config.evaluation.methods
    )
    sizes: dict[str, tuple[int, str, int]] = {
        "problems": (train + test, "problems", 0),
        "rollouts": (rollouts, "rollouts", rollouts * rollout),
        "labels": (rollouts, "rollouts", 0),
        "qvm": (round(rollouts * config.qvm.epochs), "trajectories", 0),
        "evaluation": (searches, "searches", tokens),
        "report": (1, "report", 0),
    }
    units, unit, policy_tokens = sizes[stage.name]
    parts = len(_parts(stage, config))
    return {"shards": parts, "units": units, "unit": unit, "policy_tokens": policy_tokens}
