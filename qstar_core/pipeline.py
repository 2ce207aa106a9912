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
from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.estimate import drawn_tokens, estimate, shard_tokens
from qstar_core.expert_iteration import Round, rounds, summary
from qstar_core.planning import made_first, plan, plan_comparison, plan_policy
from qstar_core.policies.identity import BY_KEY
from qstar_core.rollouts.figures import check_quarantined, combined
from qstar_core.sharding import Spec, count, parts
from qstar_core.stage import COMMANDS, ROWS_VERSION, SWEEPS, Stage, kind_of
from qstar_core.store import dataset
from qstar_core.store.entries import verified
from qstar_core.store.uri import leaf

__all__ = [
    "ALONE",
    "COMMANDS",
    "ROWS_VERSION",
    "SWEEPS",
    "Round",
    "Spec",
    "Stage",
    "check_held_out",
    "check_inputs",
    "drawn_tokens",
    "estimate",
    "finished",
    "kind_of",
    "made_first",
    "making",
    "plan",
    "plan_comparison",
    "plan_policy",
    "publish",
    "published",
    "rounds",
    "shard_tokens",
    "shards",
    "summary",
]

MODELS = (
    *("policy", "backbone", "base", "qvm", "prm", "import_file", "annotations"),
    *("embedding", "reward_model", "judge"),
)
"""Models and files of the user whose fingerprints are among the rows of a stage."""
FLAGS = {"pool": " --from-states"}
"""Of the command that makes a kind of data set."""
CARDS = ("rollouts", "pool", "labels", "evaluation")
"""Kinds of data sets that get a data card."""
MODEL_CARDS = ("qvm", "prm", "sft")
"""Kinds of models, which get a model card."""
ADAPTIVE = ("episodes", "adaptive")
"""Kinds of AdaReasoner."""
ALONE = ("timing",)
"""Stages whose shards run one at a time, because the time they take is the result."""
SEARCHING = ("evaluation", *SWEEPS)
"""Stages that search the held-out problems."""
OF_PROBLEMS = ("unsolvable", "malformed_train", "malformed_test", "import", "malformed")
"""Figures of problems; the last two of those that were imported with their rollouts."""


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


def check_held_out(stage: Stage, config: RunConfig) -> list[str]:
    """Makes sure that a stage searches no problem that its models were trained on.

    Training makes sure of that too, but the models' keys have no test problems in them, so others
    may have taken their place since. Models that the run is given by their paths are held to what
    lies beside them; see `qstar_core.audit.given_models`.

    Args:
        stage: whose inputs are published.
        config: of the run.

    Returns:
        What is not known of the given models, a sentence each.

    Raises:
        UserError: there are such problems, or near-duplicates, and ``qvm.allow`` or ``prm.allow``
            does not say so.
    """
    if stage.kind not in SEARCHING:
        return []
    from qstar_core.audit.given_models import check_given
    from qstar_core.audit.questions import SEARCHED, check_leakage

    if "qvm" in stage.inputs:
        check_leakage(stage.inputs["problems"], config, SEARCHED)
    if "prm" in stage.inputs:
        annotations = stage.inputs.get("annotations")
        check_leakage(stage.inputs["problems"], config, SEARCHED, "prm", annotations)
    if "adaptive" in stage.inputs:
        check_leakage(stage.inputs["problems"], config, SEARCHED, "adaptive")
    return check_given(stage, config)


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
        "models": _fingerprints(stage.rows),
    }
    if stage.kind == "labels":  # a round, or those of the PRM, may have others than the run
        base |= {name: stage.rows[name] for name in ("method", "gamma")}
    cut = parts(stage, config)
    if len(cut) > 1 and stage.name not in ALONE:
        share = max(1, cores // min(config.runtime.workers, len(cut)))
        base["threads"] = config.runtime.threads or share
    return [{**base, "of": len(cut), **part} for part in cut]


def _fingerprints(rows: dict[str, Any]) -> dict[str, str]:
    """Of the models that the user names; data sets of this pipeline are held to their manifests."""
    found = {name: str(rows[name]) for name in MODELS if name in rows}
    return {name: value for name, value in found.items() if not value.startswith(BY_KEY)}


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
    figures = _figures(stage, config, receipts)
    head = {
        "kind": stage.kind,
        "key": stage.key,
        "uri": stage.uri,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows_from": stage.rows,
        "config": config.model_dump(mode="json"),
        "inputs": {name: leaf(uri) for name, uri in stage.inputs.items()},
        "figures": figures,
        # of the workers that made the shards; empty where a receipt does not say
        "environment": environment.merge(r.get("environment", {}) for r in receipts),
        "code": {"qstar": __version__, "rows_version": ROWS_VERSION[stage.kind]},
    }
    if "licence" in figures:  # of the model that a trained one started from
        head["licence"] = figures.pop("licence")
    return dataset.publish(stage.uri, head, receipts, _documents(stage, config, head, receipts))


def _documents(
    stage: Stage, config: RunConfig, head: dict[str, Any], receipts: list[dict[str, Any]]
) -> dict[str, bytes]:
    """The card of a stage that makes data, or a model, to be given away."""
    if stage.kind in MODEL_CARDS:
        from qstar_core.audit.model_card import NAME as README
        from qstar_core.audit.model_card import model_card
        from qstar_core.audit.policy_card import policy_card

        tuned = stage.kind == "sft"
        text = (
            policy_card(head, config.card) if tuned else model_card(head, config.card, stage.inputs)
        )
        return {README: text.encode()}
    if stage.kind not in CARDS:
        return {}
    from qstar_core.audit.card import NAME, card

    files = [entry for receipt in receipts for entry in receipt["files"]]
    rows = verified(stage.uri, files)
    return {NAME: card(head, config.card, rows, stage.inputs).encode()}


def _figures(stage: Stage, config: RunConfig, receipts: list[dict[str, Any]]) -> dict[str, Any]:
    if stage.kind in ("rollouts", "pool"):
        figures = combined(receipts)
        total = count(stage, config, "train")
        check_quarantined(figures["quarantined"], total, config.rollouts.max_quarantined)
        return figures
    if stage.name == "problems":
        figures = {r["shard"]: r["rows"] for r in receipts}
        told = [item for r in receipts for item in r["figures"].items()]
        return figures | {name: value for name, value in told if name in OF_PROBLEMS and value}
    if stage.kind == "labels":
        from qstar_core.labels.stream import combined as combined_labels

        return combined_labels([r["figures"] for r in receipts])
    if stage.kind in ADAPTIVE:
        from qstar_core.adaptive.figures import combined as combined_episodes

        return combined_episodes(stage.kind, receipts)
    if stage.name in ("evaluation", *SWEEPS):
        from qstar_core.evaluation.summary import summarise, summarise_sweep

        files = [entry for receipt in receipts for entry in receipt["files"]]
        summary = summarise_sweep if stage.name in SWEEPS else summarise
        return summary(verified(stage.uri, files), receipts, config)
    figures = receipts[0]["figures"] if len(receipts) == 1 else {}
    return dict(figures)
