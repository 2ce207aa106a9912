"""Gathers what the report shows from the published data sets of a run."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Any

import polars as pl

from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.evaluation.compare import SOLVED, accuracy_by_tokens
from qstar_core.evaluation.comparison_report import ComparisonData, Sweep
from qstar_core.evaluation.costs import costs
from qstar_core.evaluation.report import ReportData
from qstar_core.evaluation.summary import summarise_sweep
from qstar_core.evaluation.wording import unsolvable
from qstar_core.stage import SWEEPS, kind_of
from qstar_core.store import dataset
from qstar_core.store.uri import join

OF_MODEL = ("calibration", "heldout", "overall", "regret", "reliability", "reliability_before")
"""Figures of the Q-value model that the report of an evaluation shows."""


def assemble(inputs: dict[str, str], key: str, config: RunConfig) -> ReportData:
    """The content of a report.

    Args:
        inputs: folders of the data sets evaluation, problems and, where one was trained, qvm.
        key: run key of the report.
        config: of the run.
    """
    manifest = _manifest(inputs["evaluation"])
    searches = pl.read_parquet(dataset.data_files(inputs["evaluation"]))
    qvm = _manifest(inputs["qvm"])["figures"] if "qvm" in inputs else {}
    command = ["run", join(config.out, f"report/{key}/manifest.json")]
    price = config.comparison.price_per_million_tokens
    lines = lineage(inputs["evaluation"], config.out)
    return ReportData(
        **_origin(manifest, key, config, command),
        unsolvable=_unsolvable(inputs),
        lineage=lines,
        costs=costs([(row["stage"], _manifest(place(row, config.out))) for row in lines], price),
        price=price,
        comparison=manifest["figures"]["comparison"],
        curve=accuracy_by_tokens(searches),
        searches=searches,
        shown=pick_problems(searches, config.evaluation.report_trees),
        qvm={name: qvm[name] for name in OF_MODEL if name in qvm},
    )


def assemble_comparison(inputs: dict[str, str], key: str, config: RunConfig) -> ComparisonData:
    """The content of a report of a comparison, its figures computed from the searches.

    Those in the manifests of the searches go by the baseline, the correction and the bootstrap
    samples with which they were first made.

    Args:
        inputs: folders of the data sets comparison, problems and, where they were made, timing
            and qvm.
        key: run key of the report.
        config: of the run.
    """
    manifest, asked = _manifest(inputs["comparison"]), config.comparison
    files = {name: dataset.data_files(inputs[name]) for name in SWEEPS if name in inputs}
    sweeps = {}
    for name in files:
        figures = summarise_sweep(files[name], _manifest(inputs[name])["shards"], config)
        sweeps[name] = Sweep(SWEEPS[name], figures["sweep"], figures["reach"])
    lines = [row for name in sweeps for row in lineage(inputs[name], config.out)]
    command = ["compare", join(config.out, f"comparison_report/{key}/manifest.json")]
    return ComparisonData(
        **_origin(manifest, key, config, command),
        unsolvable=_unsolvable(inputs),
        lineage=list({row["stage"]: row for row in lines}.values()),
        tokens=sweeps["comparison"],
        seconds=sweeps.get("timing"),
        correction=asked.correction,
        price=asked.price_per_million_tokens,
        workers=config.runtime.workers,
    )


def _origin(
    manifest: dict[str, Any], key: str, config: RunConfig, command: list[str]
) -> dict[str, Any]:
    """The fields of `Origin` but the lineage; the manifest is that of the searches."""
    rows = manifest["rows_from"]
    return {
        "name": config.name,
        "key": key,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["qstar", *command]),
        "config": config.model_dump(mode="json"),
        "environment": manifest["environment"],
        "fingerprints": {n: rows[n] for n in ("policy", "qvm", "adaptive") if n in rows},
    }


def _unsolvable(inputs: dict[str, str]) -> str:
    """What is to be said of problems without a solution."""
    return unsolvable(_manifest(inputs["problems"])["figures"]) if "problems" in inputs else ""


def _manifest(uri: str) -> dict[str, Any]:
    manifest = dataset.read_manifest(uri)
    if manifest is None:
        raise UserError(f"no complete data set at {uri}", next_step="qstar run CONFIG")
    return manifest


def pick_problems(searches: pl.DataFrame, count: int) -> list[str]:
    """The problems whose trees are shown: in turn one of each pattern of who solved it.

    All are, where there are no more than so many. Patterns in which the methods disagree come
    first; within a pattern the order is that of the evaluation.
    """
    methods = searches["method"].unique(maintain_order=True).to_list()
    place = pl.col("method").replace_strict(methods, range(len(methods)))
    wide = (
        searches.with_columns(solved=SOLVED)
        .group_by("problem_id", maintain_order=True)
        .agg(pl.col("solved").sort_by(place))
    )
    patterns: dict[tuple[bool, ...], list[str]] = {}
    for problem_id, solved in wide.iter_rows():
        patterns.setdefault(tuple(solved), []).append(problem_id)
    queues = sorted(patterns.items(), key=lambda item: (len(set(item[0])) == 1, item[0]))
    picked: list[str] = []
    while len(picked) < count and any(queue for _, queue in queues):
        for _, queue in queues:
            if queue and len(picked) < count:
                picked.append(queue.pop(0))
    return picked


def place(row: dict[str, Any], out: str) -> str:
    """The folder of a data set of `lineage`."""
    return join(out, f"{kind_of(row['stage'])}/{row['key']}")


def lineage(uri: str, out: str) -> list[dict[str, Any]]:
    """Stage, key and rows of a data set and of all it was made from, inputs first."""
    found: dict[str, dict[str, Any]] = {}

    def visit(folder: str, stage: str = "") -> None:
        manifest = _manifest(folder)
        for name, key in manifest["inputs"].items():
            if key not in found:
                visit(join(out, f"{kind_of(name)}/{key}"), name)
        row = {"stage": stage or manifest["kind"], "key": manifest["key"], "rows": manifest["rows"]}
        found[manifest["key"]] = row

    visit(uri)
    return list(found.values())
