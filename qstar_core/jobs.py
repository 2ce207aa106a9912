"""The work of each stage on one shard: read inputs, do it, write files, return the receipt.

These functions run in shard workers only. Each takes a shard specification (`pipeline.shards`)
and a progress callback (done, total, unit, note) and returns the shard's receipt. Models are
loaded once per worker process and kept for all its shards.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import polars as pl
import pyarrow as pa

from qstar_core.config import RunConfig
from qstar_core.configuring.jobs import adaptive, episodes
from qstar_core.domains import problem_sets, problem_table
from qstar_core.domains.problem_table import read_problems
from qstar_core.environment import as_mapping
from qstar_core.finishing import finish, put
from qstar_core.loading import (
    expect,
    load_policy,
    planned_file,
    told,
)
from qstar_core.mdp import Problem
from qstar_core.search_jobs import evaluation, sweep
from qstar_core.sft.job import sft
from qstar_core.stage import kind_of
from qstar_core.store import dataset, open_store
from qstar_core.store.uri import leaf
from qstar_core.training_jobs import prm, qvm, step_annotations

Progress = Callable[[int, int, str, str], None]
Spec = dict[str, Any]
Receipt = dict[str, Any]


def problem_ids(uri: str, split: str) -> pl.Series:
    """The ids of the problems of a split in their order."""
    frame = pl.scan_parquet(dataset.data_files(uri)).filter(pl.col("split_asked") == split)
    ids: pl.Series = frame.select("problem_id").collect().to_series()
    return ids


def problems(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Generates the problems of one split, or reads them from the user's file."""
    split = spec["split"]
    if split == "train" and config.rollouts.import_file is not None:
        return _imported_problems(spec, config, progress)
    found = problem_sets.problems(config.domain, split, config.seed)
    progress(len(found), len(found), "problems", split)
    unsolvable = problem_sets.unsolvable(config.domain, split, found) if split == "test" else None
    figures = problem_sets.malformed(config.domain, split)
    figures |= {} if unsolvable is None else {"unsolvable": unsolvable}
    return finish(spec, {f"part-{split}": problem_table.table(found, split)}, figures)


def _imported_problems(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """The problems of an imported file, and where in it their rollouts are."""
    from qstar_core.rollouts.import_survey import survey

    file, _ = planned_file(spec, config)
    left_out = problem_sets.left_out(config.domain, "train")
    scratch = open_store(spec["uri"]).scratch()
    found = survey(file, config.domain.name, left_out, scratch, progress)
    named = found.pop("named")
    figures = {"import": found, **({"malformed": named} if named else {})}
    return put(spec, scratch, sorted(scratch.iterdir()), figures)


def rollouts(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Samples and grades all rollouts of a range of problems, or grades imported ones."""
    if config.rollouts.import_file is not None:
        return _imported_rollouts(spec, config, progress)
    from qstar_core.rollouts import drift
    from qstar_core.rollouts.progress import SampleProgress
    from qstar_core.rollouts.quarantine import sample_shard
    from qstar_core.rollouts.sample import SCHEMA, sample_rollouts

    chosen = read_problems(spec["inputs"]["problems"], "train")[spec["start"] : spec["stop"]]
    policy = load_policy(config.policy, spec.get("meter"))
    expect(spec, "policy", policy.fingerprint)
    counted = SampleProgress(progress, "rollouts")
    counted.ask(len(chosen) * config.rollouts.samples)

    def sample(some: Sequence[Problem]) -> pa.Table:
        return sample_rollouts(some, policy, config.rollouts, config.seed, counted.done)

    limits = config.rollouts.max_quarantined, config.runtime.retries
    parts, quarantined = sample_shard(chosen, sample, *limits, spec.get("hints"))
    table = pa.concat_tables([SCHEMA.empty_table(), *parts]).combine_chunks()
    figures = counted.figures(quarantined)
    if not policy.batch_independent and config.rollouts.drift_requests:
        figures |= drift.figures(table, chosen, policy, config.rollouts, config.seed)
    return finish(spec, {f"part-{spec['shard']}": table}, figures | told(policy, config.policy))


def pool(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Samples and grades a pool of a range of problems."""
    from qstar_core.labels.stream import overlaps
    from qstar_core.pooling import rollouts_of, sample_pool
    from qstar_core.rollouts import drift
    from qstar_core.rollouts.paths import PATHS
    from qstar_core.rollouts.progress import SampleProgress
    from qstar_core.rollouts.quarantine import sample_shard

    asked = next(pool for pool in config.pools if pool.stage == spec["stage"])
    inputs, start, stop = spec["inputs"], spec["start"], spec["stop"]
    chosen = read_problems(inputs["problems"], "train")[start:stop]
    own = asked.policy or config.policy
    policy = load_policy(own, spec.get("meter"))
    expect(spec, "policy", policy.fingerprint)
    files = dataset.data_files(inputs["rollouts"], lambda name: overlaps(name, start, stop))
    rollouts = rollouts_of(files, chosen)
    searches = asked.kind == "mcts"
    counted = SampleProgress(progress, "searches" if searches else "rollouts")

    def sample(some: Sequence[Problem]) -> pa.Table:
        return sample_pool(some, rollouts, asked, policy, config, counted.done, counted.ask)

    limits = config.rollouts.max_quarantined, config.runtime.retries
    parts, quarantined = sample_shard(chosen, sample, *limits, spec.get("hints"))
    table = pa.concat_tables([PATHS.empty_table(), *parts]).combine_chunks()
    figures = counted.figures(quarantined)
    replayable = not policy.batch_independent and not searches  # their requests are not on record
    if replayable and config.rollouts.drift_requests:
        figures |= drift.figures(table, chosen, policy, config.rollouts, config.seed)
    return finish(spec, {f"part-{spec['shard']}": table}, figures | told(policy, own))


def _imported_rollouts(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Grades the imported rollouts of a range of problems."""
    from qstar_core.rollouts import import_survey, imported
    from qstar_core.rollouts.sample import SCHEMA

    file, sha256 = planned_file(spec, config)
    index = import_survey.read_index(spec["inputs"]["problems"], spec["start"], spec["stop"])
    scratch, start = open_store(spec["uri"]).scratch(), time.monotonic()
    path = scratch / f"part-{spec['shard']}.parquet"
    outcomes: Counter[str] = Counter()
    with dataset.table_writer(path, SCHEMA) as writer:
        for table in imported.tables(file, index, config.domain.name, sha256):
            writer.write_table(table)
            outcomes.update(table["outcome"].to_pylist())
            progress(outcomes.total(), int(index["samples"].sum()), "rollouts", "")
    seconds = round(time.monotonic() - start, 3)
    return put(spec, scratch, [path], {"seconds": seconds, "tokens": 0, "outcomes": outcomes})


def labels(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Labels every step of the rollouts of a range of problems, some of them at a time."""
    from qstar_core.labelling import labeller
    from qstar_core.labels.schema import file_schema
    from qstar_core.labels.stream import Tables, chunks, label_file, overlaps
    from qstar_core.rollouts.regrade import regrade

    inputs, start, stop = spec["inputs"], spec["start"], spec["stop"]

    def files(uri: str) -> list[str]:
        return dataset.data_files(uri, lambda name: overlaps(name, start, stop))

    ids = problem_ids(inputs["problems"], "train")[start:stop]
    pools = [files(uri) for name, uri in inputs.items() if kind_of(name) == "pool"]
    tables = Tables(files(inputs["rollouts"]), pools, ids)
    settings, label = labeller(spec, config, progress)
    method, gamma, own = settings.method, settings.gamma, settings.parameters()
    schema = file_schema(method, gamma, own, rollouts=leaf(inputs["rollouts"]))
    total = len(ids) * config.rollouts.samples
    finished = steps = 0

    def done(rollouts: int, new_steps: int) -> None:
        nonlocal finished, steps
        finished, steps = finished + rollouts, steps + new_steps
        progress(finished, max(total, finished), "rollouts", f"{steps:,} steps")

    @cache
    def known() -> dict[str, Problem]:
        return {p.id: p for p in read_problems(inputs["problems"], "train")[start:stop]}

    def graded(paths: pl.LazyFrame) -> pl.LazyFrame:
        return label(regrade(paths, config.domain.name, known))

    scratch = open_store(spec["uri"]).scratch()
    file = scratch / f"part-{spec['shard']}.parquet"
    figures = label_file(file, schema, chunks(tables), graded, done)
    progress(finished, finished, "rollouts", f"{steps:,} steps")
    return put(spec, scratch, [file], figures)


def report(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Writes the HTML report of an evaluation, with the files that lie beside it."""
    from qstar_core.audit.brief import label_audit
    from qstar_core.evaluation.assemble import assemble
    from qstar_core.evaluation.report import render

    data = assemble(spec["inputs"], spec["key"], config)
    data = replace(data, labels=label_audit(data.lineage, config.out))
    beside: dict[str, str] = {}
    return _page(spec, data, partial(render, beside=beside), progress, beside=beside)


def comparison_report(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Writes the HTML report of a comparison over a sweep of budgets."""
    from qstar_core.evaluation.assemble import assemble_comparison
    from qstar_core.evaluation.comparison_report import render

    data = assemble_comparison(spec["inputs"], spec["key"], config)
    sweeps = {"comparison": data.tokens} | ({"timing": data.seconds} if data.seconds else {})
    figures = {name: {"sweep": s.rows, "reach": s.reached} for name, s in sweeps.items()}
    return _page(spec, data, render, progress, {"sweeps": figures})


def _page(
    spec: Spec,
    data: Any,
    render: Callable[[Any], str],
    progress: Progress,
    figures: dict[str, Any] | None = None,
    beside: Mapping[str, str] | None = None,
) -> Receipt:
    scratch = open_store(spec["uri"]).scratch()
    data = replace(data, environment=as_mapping(data.environment))
    texts = {"report.html": render(data)}
    texts |= beside or {}  # filled meanwhile
    for name, text in texts.items():
        (scratch / name).write_text(text, encoding="utf-8")
    receipt = put(spec, scratch, [scratch / name for name in texts], figures or {})
    progress(1, 1, "report", "")
    return receipt


def rounds(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Puts the evaluations of all rounds of expert iteration side by side."""
    from qstar_core.evaluation.rounds import TABLE, compare_rounds, read_rounds

    found = read_rounds(spec["inputs"])
    rows = compare_rounds(found, config.seed, config.evaluation.bootstrap_samples)
    progress(1, 1, "table", "")
    return finish(spec, {"rounds": pa.Table.from_pylist(rows, schema=TABLE)}, {"rounds": rows})


def pretrain(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Trains the reference policy into a folder and writes its manifest beside the weights."""
    from qstar_core.policies.reference import pretrain_to

    def report(figures: dict[str, Any]) -> None:
        note = f"loss {figures['loss']:.4f}, {figures['plays_per_second']:.0f} plays/s"
        progress(figures["step"], figures["of"], "updates", note)

    return pretrain_to(spec["uri"], config, report)


JOBS: dict[str, Callable[[Spec, RunConfig, Progress], Receipt]] = {
    "problems": problems,
    "rollouts": rollouts,
    "pool": pool,
    "labels": labels,
    "qvm": qvm,
    "annotations": step_annotations,
    "prm": prm,
    "sft": sft,
    "episodes": episodes,
    "adaptive": adaptive,
    "evaluation": evaluation,
    "report": report,
    "rounds": rounds,
    "comparison": sweep,
    "timing": sweep,
    "comparison_report": comparison_report,
    "pretrain": pretrain,
}
