"""Whether the models that a run is given were trained on its test problems.

A model may be used in any run later, with other test problems than those that its training looked
at. Its manifest names the problems of its own run and the model that it started from, which may be
one that qstar trained too. What is known of them, in this order:

1. The problems lie beside the model, or where it was made: test problems among them are refused.
2. They were generated, or were random plays: problems that are held out by their hash were not
   among them, of others it is not known.
3. Nothing: a model of the hub or of another program, or a copy without its run.

What is not known is said, except of what a base model has read before qstar trained it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from qstar_core.annotations.table import annotated_problems
from qstar_core.audit.questions import SEARCHED, refuse_leakage
from qstar_core.config import RunConfig
from qstar_core.domains import problem_sets
from qstar_core.domains.problem_table import read_problems
from qstar_core.errors import UserError
from qstar_core.mdp import Problem
from qstar_core.policies.checkpoint import REFERENCE
from qstar_core.stage import Stage
from qstar_core.store import dataset
from qstar_core.store.uri import join

BASE = {"qvm": "init", "prm": "init", "sft": "base"}
"""Kinds of models, and the field that names what one started from, unless that is the policy."""
PRETRAINED = "checkpoint"
"""Kind of a policy of ``qstar pretrain``."""
REFERENCE_NAME = "reference:"
VALUES = ("qvm.path", "prm.path")
"""Fields that name value models; what an unknown LLM has read is known of none."""

Manifest = dict[str, Any]


def check_given(stage: Stage, config: RunConfig) -> list[str]:
    """Refuses to search test problems that a given model was trained on.

    Args:
        stage: which searches; its problems are published.
        config: of the run, which names models by ``policy.path``, ``qvm.path`` or ``prm.path``; by
            ``qvm.init`` or ``prm.init`` what those that it trains started from.

    Returns:
        What is not known of these models, a sentence each.

    Raises:
        UserError: there are such problems, or near-duplicates, and ``qvm.allow`` or ``prm.allow``
            does not say so.
    """
    served = config.policy.backend == "server"
    given = {"policy.path": None if served else config.policy.path, "qvm.path": config.qvm.path}
    if "prm" in stage.rows:
        given["prm.path"] = config.prm.path
    if "qvm" in stage.inputs:
        given["qvm.init"] = config.qvm.init
    if "prm" in stage.inputs:
        given["prm.init"] = config.prm.init
    test = read_problems(stage.inputs["problems"], "test")
    notes: list[str] = []
    for field, path in given.items():
        if path is not None:
            notes += check_model(field, path, test, config)
    return list(dict.fromkeys(notes))


def check_model(field: str, path: str, test: Sequence[Problem], config: RunConfig) -> Iterator[str]:
    """`check_given` of one model, named by a field, and of those that it started from."""
    allow = "prm" if field.startswith("prm.") else "qvm"
    for at, manifest in history(path):
        who = f"{field}: {at}"
        if manifest is None:
            if field in VALUES and at == path:
                yield (
                    f"{who} does not say what it was trained on, so whether test problems are "
                    "among that is not known"
                )
        elif manifest["kind"] == PRETRAINED:
            yield from _of_plays(who, manifest, test)
        elif (train := trained_on(at, manifest)) is not None:
            refuse_leakage(train, test, getattr(config, allow).allow, SEARCHED, allow, who)
        else:
            yield from _of_lost(who, manifest, test)


def history(path: str) -> Iterator[tuple[str, Manifest | None]]:
    """A model and those that it started from, as far as manifests tell.

    Yields:
        Path and manifest; None where it has none of qstar's, which ends the history.
    """
    seen: set[str] = set()
    while path and path not in seen:
        seen.add(path)
        folder = path.rstrip("/")
        if path.startswith(REFERENCE_NAME):
            folder = str(REFERENCE / path.removeprefix(REFERENCE_NAME))
        manifest = _manifest(folder)
        yield path, manifest
        if manifest is None or manifest["kind"] not in BASE:
            return
        kind, config = str(manifest["kind"]), manifest.get("config", {})
        own = (config.get(kind) or {}).get(BASE[kind])
        path = own or config.get("policy", {}).get("path", "")


def _manifest(folder: str) -> Manifest | None:
    """The manifest of a model that qstar trained, else None."""
    try:
        found = dataset.read_manifest(folder)
    except (UserError, AttributeError, KeyError, TypeError):  # another program's file of this name
        return None
    return found if found and found.get("kind") in (*BASE, PRETRAINED) else None


def trained_on(path: str, manifest: Manifest) -> list[Problem] | None:
    """The problems that a model was trained on; None where they are not there any more.

    Args:
        path: of the model.
        manifest: of it; kind qvm, prm or sft.
    """
    inputs, config = manifest.get("inputs", {}), manifest.get("config", {})
    kind = "annotations" if "annotations" in inputs else "problems"
    for out in (_out(path.rstrip("/"), manifest), config.get("out")):
        folder = join(out, f"{kind}/{inputs.get(kind)}") if out else None
        if folder is None or dataset.read_manifest(folder) is None:
            continue
        if kind == "annotations":
            return annotated_problems(folder, config["domain"]["name"])
        imported = config.get("rollouts", {}).get("import_file") is not None
        problems = read_problems(folder, "train")
        return [p for p in problems if p.split == "train"] if imported else problems
    return None


def _out(path: str, manifest: Manifest) -> str | None:
    """The output folder of the run of a model, where that lies as ``{out}/{kind}/{key}``."""
    here = f"{manifest['kind']}/{manifest.get('key')}"
    if path == here:
        return "."
    return path.removesuffix(f"/{here}") if path.endswith(f"/{here}") else None


def _of_plays(who: str, manifest: Manifest, test: Sequence[Problem]) -> Iterator[str]:
    """Of a policy of ``qstar pretrain``."""
    domain = manifest.get("domain", {})
    if count := _not_held_out(domain.get("name"), test):
        file = domain.get("test_file")
        yield (
            f"{who} learnt from random plays, and {count:,} of {len(test):,} test problems may be "
            "among them: left out were problems that are held out by their hash"
            + (f", and those of {file}" if file else "")
        )


def _of_lost(who: str, manifest: Manifest, test: Sequence[Problem]) -> Iterator[str]:
    """Of a model whose problems are not there."""
    config = manifest.get("config", {})
    domain = config.get("domain", {})
    given = domain.get("train_file") or (config.get("rollouts") or {}).get("import_file")
    source = problem_sets.SOURCES.get(domain.get("name", ""))
    generated = source is not None and source.GENERATED["train"] and not given
    if generated and "annotations" not in manifest.get("inputs", {}):
        if count := _not_held_out(domain["name"], test):
            file = domain.get("test_file")
            yield (
                f"{who} was trained on generated problems that are not beside it, and {count:,} of "
                f"{len(test):,} test problems may be among them"
                + (f": left out were those of {file}" if file else "")
            )
        return
    yield (
        f"{who} was trained on problems that are not beside it, so whether test problems are among "
        "them is not known"
    )


def _not_held_out(domain: str | None, test: Sequence[Problem]) -> int:
    """Test problems of a domain that its hash does not hold out: a user's file may have them."""
    return sum(p.domain == domain and p.split != "test" for p in test)
