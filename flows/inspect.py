"""What the command line says of data sets without Prefect: the plan, the end of a run, `show`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import tables
from flows.progress import count
from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.policies.checkpoint import REFERENCE
from qstar_core.provenance.manifests import relatives
from qstar_core.store import dataset, filesystem, open_store
from qstar_core.store.uri import is_remote, join, leaf
from qstar_core.values.side_by_side import KINDS

SHOWN_ROWS = 3
SUGGESTIONS = 8
THERE = "already there"
NEXT_COMMANDS = {
    **{"rollouts": "label", "pool": "label", "labels": "train-qvm"},
    **{"qvm": "evaluate", "adaptive": "evaluate"},
}
"""What usually follows a kind of data set that a command of one stage has made."""

Manifest = dict[str, Any]


def all_published(stages: dict[str, pipeline.Stage]) -> dict[str, Manifest] | None:
    """The manifests of all stages of a plan when every one is complete, else None."""
    manifests = {}
    for stage in stages.values():
        manifest = pipeline.published(stage)
        if manifest is None:
            return None
        manifests[stage.name] = manifest
    return manifests


def all_made(rounds: Sequence[pipeline.Round]) -> dict[str, Manifest] | None:
    """The manifests of all stages of all rounds, by their labels, when every one is complete."""
    manifests: dict[str, Manifest] = {}
    for each in rounds:
        found = all_published(each.stages)
        if found is None:
            return None
        manifests |= {each.label(name): manifest for name, manifest in found.items()}
    if len(rounds) > 1:
        whole = pipeline.summary(rounds[0].config)
        found = all_published({} if whole is None else {whole.name: whole})
        return None if found is None else manifests | found
    return manifests


def plan_rows(rounds: Sequence[pipeline.Round]) -> list[dict[str, Any]]:
    """Stage, key, state and estimate of each stage, for `tables.plan_table`; writes nothing.

    The policy tokens are those of the shards that are still to be made. A data set that a round
    before makes too has no second row.
    """
    planned = [
        (each.label(name), stage, each.config)
        for each in rounds
        for name, stage in each.stages.items()
        if each.number == 1 or stage.kind != "problems"
    ]
    whole = pipeline.summary(rounds[0].config) if len(rounds) > 1 else None
    if whole is not None:
        planned.append((whole.name, whole, rounds[0].config))
    rows = []
    for label, stage, config in planned:
        state, made = _state(stage, config)
        estimate = pipeline.estimate(stage, config)
        spent = sum(pipeline.shard_tokens(stage, config, s) for s in made)
        estimate["policy_tokens"] = 0 if state == THERE else estimate["policy_tokens"] - spent
        about = {"stage": label, "key": stage.key, "uri": stage.uri, "state": state}
        rows.append({**about, **estimate})
    return rows


def places(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines with the folders of the data sets of a plan that are there, for other commands."""
    there = [row for row in rows if row["state"] == THERE]
    if not there:
        return []
    lines = [f"{row['stage']:<11} {row['uri']}" for row in there]
    example = shlex.quote(there[-1]["uri"])
    return ["", "Already there:", *lines, f"Next: qstar show {example}   (likewise the others)"]


def _state(stage: pipeline.Stage, config: RunConfig) -> tuple[str, list[pipeline.Spec]]:
    """What is there of a stage in words, and the finished shards of one that is not complete."""
    if pipeline.published(stage) is not None:
        return THERE, []
    try:
        specs = pipeline.shards(stage, config)
    except UserError:  # an input is not there yet: neither is any shard
        return "will run", []
    made = [spec for spec in specs if pipeline.finished(spec) is not None]
    return (f"{len(made)} of {len(specs)} shards there" if made else "will run"), made


def show_end(
    console: Console, config: RunConfig, manifests: dict[str, Manifest], command: str
) -> None:
    """The end of a run: the comparison, where everything lies, what to type next."""
    comparison = manifests["evaluation"]["figures"].get("comparison", [])
    console.print(tables.comparison_table(comparison))
    page, opening = page_of(manifests["report"])
    several = [name for name in manifests if name != pipeline.kind_of(name)]
    lines = [
        *(f"{name:<10} {manifests[name]['uri']}" for name in several),
        f"Results    {manifests['evaluation']['uri']}",
        f"Manifests  {join(config.out, '*/*')}/{dataset.MANIFEST}",
        f"Report     {page}",
        "",
        f"Next: {opening}",
        f"      qstar show {shlex.quote(manifests['evaluation']['uri'])}",
        *variant(config, manifests, command),
    ]
    tables.say(console, *lines)


def variant(config: RunConfig, manifests: Mapping[str, Manifest], command: str) -> list[str]:
    """Suggests the run with four times its rollouts, where it has sampled any."""
    if "rollouts" not in manifests or config.rollouts.import_file is not None:
        return []
    more = 4 * config.rollouts.samples
    return [f"      {command} --set rollouts.samples={more}   (a variant; what is equal is kept)"]


def show_rounds(
    console: Console, rounds: Sequence[pipeline.Round], manifests: dict[str, Manifest]
) -> None:
    """The rounds of expert iteration side by side, and where their policies and reports lie."""
    console.print(tables.rounds_table(manifests["rounds"]["figures"]["rounds"]))
    lines = []
    for each in rounds:
        page, _ = page_of(manifests[each.label("report")])
        lines.append(f"Round {each.number}    policy {each.config.policy.path}, report {page}")
    tables.say(console, *lines, f"Rounds     {manifests['rounds']['uri']}", "")


def show_stage_end(console: Console, stage: str, manifest: Manifest) -> None:
    """The end of a command of one stage: what it made, where it lies, what to type next."""
    uri = shlex.quote(manifest["uri"])
    if stage in ("report", "comparison_report"):
        page, opening = page_of(manifest)
        tables.say(console, f"Report     {page}", f"Next: {opening}")
        return
    following = [f"Next: qstar show {uri}"]
    if stage == "evaluation":
        console.print(tables.comparison_table(manifest["figures"].get("comparison", [])))
        following.append(f"      qstar explain {uri} 1")
    if command := NEXT_COMMANDS.get(manifest["kind"]):
        recipe = shlex.quote(join(manifest["uri"], dataset.MANIFEST))
        following.append(f"      qstar {command} {recipe}   (a manifest is a configuration)")
    if manifest["kind"] in KINDS:
        from flows.value_models import model_tables

        for table in model_tables(manifest["figures"]):
            console.print(table)
    if stage == "adaptive":
        from flows.adaptive import show_adaptive

        show_adaptive(console, manifest["figures"])
    if stage == "sft":
        path = f"policy.path={uri}"
        following.append(f"      qstar run CONFIG --set {path}   (a run with this policy)")
    if stage == "labels":
        following.append(f"      qstar audit {uri}")
        for other in relatives(manifest["uri"], manifest)[:1]:
            what = "which labels changed, and why"
            following.append(f"      qstar diff {shlex.quote(other)} {uri}   ({what})")
    tables.say(console, f"{count(manifest['rows'])}: {manifest['uri']}", *following)


def page_of(report: Manifest) -> tuple[str, str]:
    """Where the page of a report lies, and how to open it."""
    page = join(report["uri"], report["files"][0]["name"])
    if is_remote(page):
        return page, f"qstar fetch {report['uri']} report   (then open report/{leaf(page)})"
    return page, f"open {Path(page).absolute().as_uri()}"


def show_dataset(console: Console, uri: str) -> None:
    """Prints a data set: its manifest, schema, figures and first rows.

    Raises:
        UserError: there is no complete data set at the path.
    """
    folder = folder_named(uri)
    manifest = manifest_of(folder)
    console.print(tables.summary_table(manifest))
    for table in tables.figures_tables(manifest["figures"], manifest["kind"]):
        console.print(table)
    if manifest["schema"]:
        console.print(tables.schema_table(manifest["schema"]))
    dataset.read_complete(folder)  # says which file is missing
    names = [entry["name"] for entry in manifest["files"] if entry["name"].endswith(".parquet")]
    if names:
        console.print(tables.rows_table(first_rows(folder, names, SHOWN_ROWS)))
    for entry in manifest["files"]:
        if not entry["name"].endswith(".parquet"):
            tables.say(console, f"{folder}/{entry['name']}")


def folder_named(uri: str) -> str:
    """The folder of a data set: a path, ``s3://``, or ``reference:NAME`` that comes with qstar."""
    if uri.startswith("reference:"):
        return str(REFERENCE / uri.removeprefix("reference:"))
    return dataset.folder_of(uri)


def manifest_of(folder: str) -> Manifest:
    """The manifest of a complete data set.

    Raises:
        UserError: there is none; names those that are near.
    """
    if is_remote(folder):
        open_store(folder).check("DATASET")
    there = is_remote(folder) or Path(folder).is_dir()
    manifest = dataset.read_manifest(folder) if there else None
    if manifest is not None and "files" in manifest:
        return manifest
    if is_remote(folder):
        raise UserError(
            f"no complete data set at {folder}: it has no {dataset.MANIFEST}",
            next_step="qstar run CONFIG makes data sets and says where they lie",
        )
    path = Path(folder)
    if not path.exists():
        what, base = f"no such folder: {folder}", path.parent
    elif not path.is_dir():
        what, base = f"{folder} is a file; a data set is a folder with a manifest", path.parent
    else:
        what, base = f"no complete data set at {folder}: it has no {dataset.MANIFEST}", path
    if (path / "config.json").is_file() and any(path.glob("*.safetensors")):
        raise _nothing_to_measure(folder)
    found = _datasets(base)
    if found:
        raise UserError(
            f"{what}\ndata sets below {base}:\n" + "\n".join(f"  {f}" for f in found),
            next_step=f"qstar show {found[0]}",
        )
    raise UserError(what, next_step="qstar run CONFIG makes data sets and says where they lie")


def _nothing_to_measure(folder: str) -> UserError:
    """Said of a checkpoint that no run of qstar has published."""
    return UserError(
        f"{folder} is a checkpoint without {dataset.MANIFEST}: it has no figures, and there are "
        "no labels to measure it against",
        next_step=f"qstar evaluate CONFIG --set qvm.path={shlex.quote(folder)}   says what "
        "searches reach with it",
    )


def _datasets(base: Path) -> list[str]:
    found: list[Path] = []
    for depth in ("", "*/", "*/*/"):
        found += sorted(base.glob(depth + dataset.MANIFEST))
    return [str(path.parent) for path in found[:SUGGESTIONS]]


def first_rows(folder: str, names: list[str], count: int) -> list[dict[str, Any]]:
    """The first rows of a data set's Parquet files, without reading the rest."""
    import pyarrow.parquet as pq

    system, base = filesystem(folder)
    rows: list[dict[str, Any]] = []
    for name in names:
        if len(rows) >= count:
            break
        with system.open_input_file(f"{base}/{name}") as file:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=count):
                rows += batch.to_pylist()
                break
    return rows[:count]
