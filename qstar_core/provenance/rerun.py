"""What a manifest describes, planned once more in another place.

The configuration is the manifest's with another ``out``; limits of a run (``runtime.max_tokens``,
``runtime.max_hours``, ``runtime.max_price``) are lifted. The same key promises the same rows; where
the planned key is another one, the fields that decide it say why: other code, another checkpoint, a
changed manifest.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.config_file import load_config
from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.pipeline import Stage
from qstar_core.provenance.manifests import (
    Manifest,
    differences,
    folder_of,
    inputs,
    read,
)
from qstar_core.stage import kind_of
from qstar_core.store import open_store
from qstar_core.store.copying import fetch
from qstar_core.store.dataset import MANIFEST
from qstar_core.store.uri import is_remote, join, leaf

WITHOUT_LIMITS = [f"runtime.{name}=null" for name in ("max_tokens", "max_hours", "max_price")]
COMPARED = ("comparison", "timing", "comparison_report")
"""Kinds that only the plan of a comparison has."""
PAGES = ("report", "comparison_report")
"""Kinds without rows, whose pages tell measured seconds."""
OF_PRM = ("labels", "annotations")
"""Kinds that ``qstar train-prm`` makes for a configuration whose runs need no reward model."""
SETS = ("domain.train_file", "domain.test_file", "domain.prompt")  # or names
FILES = (*SETS, "rollouts.import_file", "prm.annotations")
FOLDERS = ("policy.path", "policy.lora", "qvm.init", "qvm.path", "prm.init", "prm.path", "sft.base")

WITHOUT_MODELS = ("problems", "rollouts", "labels")
"""Kinds that ask for no model where rollouts are imported."""


@dataclass(frozen=True)
class Rerun:
    """A data set to be made again.

    Attributes:
        uri: where the published one lies.
        manifest: of the published one.
        config: its configuration, with the place of the rerun as ``out``.
        stages: what has to be made for it, in order; the last one is it.
        rounds: configurations of later rounds of expert iteration, by the folders of their stages.
    """

    uri: str
    manifest: Manifest
    config: RunConfig
    stages: list[Stage]
    rounds: Mapping[str, RunConfig] = dataclasses.field(default_factory=dict)

    @property
    def target(self) -> Stage:
        """The stage that makes the data set."""
        return self.stages[-1]


def prepare(uri: str, scratch: str, overrides: list[str] | None = None) -> Rerun:
    """Plans what a manifest describes.

    Args:
        uri: folder or ``s3://bucket/prefix`` of the data set, or its manifest.
        scratch: folder to make it in.
        overrides: ``path.to.field=value``, for files and models that lie elsewhere now.

    Raises:
        UserError: there is no data set, it is no stage's, or a file or model that its
            configuration names is gone.
        Damaged: its manifest cannot be read.
    """
    folder = folder_of(uri)
    manifest = read(folder)
    kind = kind_of(str(manifest["kind"]))
    if kind in PAGES:
        source = next((u for u in inputs(folder, manifest).values()), "the data set it shows")
        raise UserError(
            f"{folder} is a page, which tells the seconds of its run: it has no rows to compare",
            next_step=f"qstar reproduce {source}",
        )
    settings = [*WITHOUT_LIMITS, *(overrides or [])]
    config = load_config(join(folder, MANIFEST), settings, scratch)
    _check_given(config, kind, folder)
    later: dict[str, RunConfig] = {}
    if kind == "rounds":
        plan, later = _plan_rounds(config)
    elif kind in COMPARED:
        plan = pipeline.plan_comparison(config)
    elif kind == "sft":
        plan = pipeline.plan_policy(config)
    else:
        plan = pipeline.plan(config, until="labels" if kind == "pool" else kind)
        missing = manifest.get("key") not in [stage.key for stage in plan.values()]
        if missing and kind in OF_PRM and config.prm.path is None:
            plan |= pipeline.plan(config, until="prm")  # of qstar train-prm, which no run needs
    able = [stage for stage in plan.values() if stage.kind == kind]
    if not able:
        raise UserError(
            f"{folder}: no stage of its configuration makes data sets of kind {kind}",
            next_step=f"qstar show {folder}",
        )
    last = min(able, key=_unlike(manifest))
    return Rerun(folder, manifest, config, _needed(plan, last, later), later)


def _plan_rounds(config: RunConfig) -> tuple[dict[str, Stage], dict[str, RunConfig]]:
    """All stages of expert iteration by their folders, and the configurations of later rounds."""
    rounds = pipeline.rounds(config)
    plan = {stage.uri: stage for each in rounds for stage in each.stages.values()}
    first = {stage.uri for stage in rounds[0].stages.values()}
    later = {
        stage.uri: each.config
        for each in rounds
        for stage in each.stages.values()
        if stage.uri not in first
    }
    whole = pipeline.summary(config)
    return {**plan, **({whole.uri: whole} if whole is not None else {})}, later


def _unlike(manifest: Manifest) -> Callable[[Stage], tuple[bool, int]]:
    """How far a stage is from the one that made a data set, where there are several of a kind."""
    rows_from = manifest.get("rows_from", {})
    return lambda stage: (
        stage.key != manifest.get("key"),
        len(differences(rows_from, stage.rows)),
    )


def _given(config: RunConfig, kind: str) -> dict[str, tuple[str | None, bool]]:
    """Files and folders that the configuration of a data set names, by field; whether a folder."""
    found: dict[str, tuple[str | None, bool]] = {}
    unasked = config.rollouts.import_file is not None and kind in WITHOUT_MODELS
    for field in (*FILES, *(() if unasked else FOLDERS)):
        section, _, name = field.partition(".")
        found[field] = (getattr(getattr(config, section), name), field in FOLDERS)
    for number, pool in enumerate(config.pools):
        if pool.policy is not None:
            found[f"pools.{number}.policy.path"] = (pool.policy.path, True)
            found[f"pools.{number}.policy.lora"] = (pool.policy.lora, True)
    return found


def _check_given(config: RunConfig, kind: str, folder: str) -> None:
    """Names the files and folders of the configuration that are gone, before anything starts."""
    for field, (value, is_folder) in _given(config, kind).items():
        if value is None or is_remote(value) or value.startswith("reference:"):
            continue
        may_be_a_name = (
            (is_folder or field in SETS) and value.count("/") == 1 and value[0] not in "./~"
        )
        if not may_be_a_name and not Path(value).exists():
            raise UserError(
                f"{field}: {value}, which the manifest names, is not there",
                safe="nothing was started",
                next_step=f"qstar reproduce {folder} --set {field}=PATH   names where it lies now; "
                "its content is checked",
            )


def _needed(plan: dict[str, Stage], last: Stage, later: Mapping[str, RunConfig]) -> list[Stage]:
    """A stage after all that it reads, in the order of the plan; policies of later rounds too."""
    waiting, found, known = [last.uri], set[str](), {stage.uri: stage for stage in plan.values()}
    while waiting:
        uri = waiting.pop()
        found.add(uri)
        waiting += known[uri].inputs.values()
        if uri in later and later[uri].policy.path in known:
            waiting.append(later[uri].policy.path)
    return [stage for stage in plan.values() if stage.uri in found]


def key_differences(rerun: Rerun) -> list[tuple[str, str, Any, Any]]:
    """Why the data set would get another key: stage, field, value then, value now.

    Inputs beside the data set are compared too, first those that come first. A field that is only
    the key of an input is left out where that input's own fields are said.
    """
    then = {rerun.target.name: rerun.manifest, **_known_inputs(rerun)}
    found: list[tuple[str, str, Any, Any]] = []
    other_keys: set[str] = set()
    for stage in rerun.stages:
        manifest = None if stage.uri in rerun.rounds else then.get(stage.name)
        if manifest is None or manifest.get("key") == stage.key == _hash(manifest):
            continue
        for field, before, now in differences(manifest.get("rows_from", {}), stage.rows):
            keys = now if isinstance(now, list) else [str(now)]
            if not other_keys.intersection(map(str, keys)):
                found.append((stage.name, field, before, now))
        other_keys.add(stage.key)
    if not found and rerun.manifest.get("key") != rerun.target.key:
        found.append((rerun.target.name, "key", rerun.manifest.get("key"), rerun.target.key))
    return found


def _hash(manifest: Manifest) -> str:
    return content_id(manifest.get("rows_from", {}))


def _known_inputs(rerun: Rerun) -> dict[str, Manifest]:
    """The manifests of all inputs that lie beside the data set, and of theirs, by stage."""
    found: dict[str, Manifest] = {}
    waiting = list(inputs(rerun.uri, rerun.manifest).items())
    if rerun.rounds:
        waiting = waiting[:1]  # the evaluation of the first round
    while waiting:
        name, uri = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = read(uri)
        except UserError:  # gone or damaged: what is known of it is its key
            continue
        waiting += inputs(uri, found[name]).items()
    return found


def take_inputs(rerun: Rerun) -> None:
    """Puts the published inputs where the rerun looks for them: links, or copies of remote ones.

    Raises:
        UserError: an input is not there, or would have another key now.
    """
    there = inputs(rerun.uri, rerun.manifest)
    for name, planned in rerun.target.inputs.items():
        source = there.get(name)
        if source is None or not open_store(source).exists(MANIFEST):
            raise UserError(
                f"the input {name} is not beside {rerun.uri}",
                safe="nothing was started",
                next_step=f"qstar reproduce {rerun.uri}   makes it again too",
            )
        if leaf(source) != leaf(planned):
            raise UserError(
                f"the input {name} beside {rerun.uri} has the key {leaf(source)}, its "
                f"configuration gives {leaf(planned)} here",
                safe="nothing was started",
                next_step=f"qstar reproduce {rerun.uri}   says which fields give another key",
            )
        if is_remote(source):
            fetch(source, planned)
        elif not os.path.lexists(planned):
            Path(planned).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(os.path.abspath(source), planned, target_is_directory=True)
