"""The work of each stage on one shard: read inputs, do it, write files, return the receipt.

These functions run in shard workers only. Each takes a shard specification (`pipeline.shards`)
and a progress callback (done, total, unit, note) and returns the shard's receipt. Models are
loaded once per worker process and kept for all its shards.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from qstar_core.config import RunConfig, SearchConfig
from qstar_core.domains import countdown_problems
from qstar_core.environment import as_mapping
from qstar_core.loading import expect, load_policy, load_reward_model, load_value, told
from qstar_core.mdp import Problem
from qstar_core.memory import give_back
from qstar_core.planning import SWEEPS
from qstar_core.policies.checkpoint import backbone, resolve_checkpoint
from qstar_core.search.budget import Budget
from qstar_core.store import dataset, open_store

Progress = Callable[[int, int, str, str], None]
Spec = dict[str, Any]
Receipt = dict[str, Any]

UNLIMITED = 1_000_000
"""Policy tokens, value calls and expansions per problem where seconds are the limit: no search gets
there."""


def read_problems(uri: str, split: str) -> list[Problem]:
    """The problems of a split in their order."""
    frame = pl.read_parquet(dataset.data_files(uri)).filter(pl.col("split_asked") == split)
    rows = frame.select("domain", "prompt", "reference", "split").iter_rows()
    return [Problem(*row) for row in rows]


def _finish(spec: Spec, tables: dict[str, pa.Table], figures: dict[str, Any]) -> Receipt:
    """Writes tables as Parquet files of the shard and finishes it."""
    scratch = open_store(spec["uri"]).scratch()
    files = []
    for name, table in tables.items():
        files.append(scratch / f"{name}.parquet")
        dataset.write_table(files[-1], table)
    return _put(spec, scratch, files, figures)


def _put(spec: Spec, scratch: Path, files: list[Path], figures: dict[str, Any]) -> Receipt:
    """Finishes the shard with the files it has written to a scratch folder."""
    where, environment = (spec["uri"], spec["shard"]), spec.get("environment")
    receipt = dataset.finish_shard(*where, files, figures, environment)
    shutil.rmtree(scratch, ignore_errors=True)
    give_back()
    return receipt


def problems(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Generates the problems of one split, or reads them from the user's file."""
    split = spec["split"]
    found = countdown_problems.problems(config.domain, split, config.seed)
    rows = [{"problem_id": p.id, **p.to_dict(), "split_asked": split} for p in found]
    progress(len(rows), len(rows), "problems", split)
    figures = {}
    if split == "test" and countdown_problems.given(config.domain, split) is not None:
        figures["unsolvable"] = countdown_problems.unsolvable(found)
    return _finish(spec, {f"part-{split}": pa.Table.from_pylist(rows)}, figures)


def rollouts(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Samples and grades all rollouts of a range of problems."""
    from qstar_core.rollouts import drift
    from qstar_core.rollouts.quarantine import sample_shard
    from qstar_core.rollouts.sample import SCHEMA, sample_rollouts

    chosen = read_problems(spec["inputs"]["problems"], "train")[spec["start"] : spec["stop"]]
    policy = load_policy(config.policy)
    expect(spec, "policy", policy.fingerprint)
    total = len(chosen) * config.rollouts.samples
    finished = tokens = 0
    start = time.monotonic()

    def done(samples: int, new_tokens: int) -> None:
        nonlocal finished, tokens
        finished, tokens = finished + samples, tokens + new_tokens
        rate = tokens / max(1e-9, time.monotonic() - start)
        # halves of a failing group are counted again
        progress(min(finished, total), total, "rollouts", f"{rate:,.0f} tokens/s")

    def sample(some: Sequence[Problem]) -> pa.Table:
        return sample_rollouts(some, policy, config.rollouts, config.seed, done)

    limits = config.rollouts.max_quarantined, config.runtime.retries
    parts, quarantined = sample_shard(chosen, sample, *limits, spec.get("hints"))
    table = pa.concat_tables([SCHEMA.empty_table(), *parts]).combine_chunks()
    seconds = time.monotonic() - start
    figures: dict[str, Any] = {"seconds": round(seconds, 3), "tokens": tokens}
    if quarantined:
        figures["quarantined"] = quarantined
    if not policy.batch_independent and config.rollouts.drift_requests:
        figures |= drift.figures(table, chosen, policy, config.rollouts, config.seed)
    return _finish(spec, {f"part-{spec['shard']}": table}, figures | told(policy, config))


def labels(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Labels every step of the rollouts of a range of problems."""
    from qstar_core.labels import METHODS
    from qstar_core.rollouts.regrade import regrade

    chosen = read_problems(spec["inputs"]["problems"], "train")[spec["start"] : spec["stop"]]
    ids = pl.Series([p.id for p in chosen])
    rows = pl.scan_parquet(dataset.data_files(spec["inputs"]["rollouts"]))
    rows = regrade(rows.filter(pl.col("problem_id").is_in(ids.implode())), chosen)
    frame = METHODS[config.labels.method](rows, config.labels.gamma).collect()
    count = frame["rollout_id"].n_unique()
    progress(count, count, "rollouts", f"{len(frame):,} steps")
    last = frame.filter(pl.col("step_index") == 1).unique("action_id")
    figures = {
        "steps": len(frame),
        "positive_share": (frame["y"] > 0).sum() / max(1, len(frame)),
        "distinct_first_actions": len(last),
    }
    return _finish(spec, {f"part-{spec['shard']}": frame.to_arrow()}, figures)


def qvm(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Trains the Q-value model and measures it on held-out problems."""
    from qstar_core.values.train import train_qvm

    frame = pl.read_parquet(dataset.data_files(spec["inputs"]["labels"]))
    known = read_problems(spec["inputs"]["problems"], "train")
    folder, found = backbone(config)
    expect(spec, "backbone", found)
    scratch = open_store(spec["uri"]).scratch()
    start = time.monotonic()

    def report(step: int, of: int, note: str) -> None:
        progress(step, of, "updates", note)

    figures, predictions = train_qvm(frame, known, folder, scratch, config.qvm, config.seed, report)
    figures["seconds"] = round(time.monotonic() - start, 3)
    dataset.write_table(scratch / "predictions.parquet", predictions.to_arrow())
    files = sorted(f for f in scratch.iterdir() if f.is_file())
    return _put(spec, scratch, files, figures)


def evaluation(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Runs one search method on a range of held-out problems."""
    method = config.evaluation.methods[spec["method"]]
    table, figures = _search(spec, config, method, None, progress)
    return _finish(spec, {f"part-{spec['shard']}": table}, figures)


def sweep(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Runs one search method at one budget of a sweep on a range of held-out problems."""
    method, limits = config.compared().methods[spec["method"]], config.evaluation
    amount, others = spec["budget"], (limits.max_value_calls, limits.max_expansions)
    timed = SWEEPS[spec["stage"]] == "seconds"
    budget = Budget(UNLIMITED, UNLIMITED, UNLIMITED, amount) if timed else Budget(amount, *others)
    table, figures = _search(spec, config, method, budget, progress)
    column = pa.field("budget", pa.float64(), nullable=False)
    place = table.schema.get_field_index("algorithm") + 1
    table = table.add_column(place, column, pa.array([float(amount)] * len(table)))
    return _finish(spec, {f"part-{spec['shard']}": table}, {**figures, "budget": amount})


def _search(
    spec: Spec, config: RunConfig, method: SearchConfig, budget: Budget | None, progress: Progress
) -> tuple[pa.Table, dict[str, Any]]:
    """The searches of a shard with their figures."""
    from qstar_core.evaluation.run import evaluate

    chosen = read_problems(spec["inputs"]["problems"], "test")[spec["start"] : spec["stop"]]
    if config.qvm.path is not None:
        folder = resolve_checkpoint(config.qvm.path, "qvm.path")
    else:
        folder = dataset.local_folder(spec["inputs"]["qvm"])
    value = load_value(folder, config)
    if config.qvm.path is not None:
        expect(spec, "qvm", value.fingerprint)
    policy = load_policy(config.policy)
    expect(spec, "policy", policy.fingerprint)
    prm = load_reward_model(config, method)
    if prm is not None:
        expect(spec, "prm", prm.fingerprint)
    table, figures = evaluate(chosen, method, policy, value, config, progress, prm, budget)
    return table, figures | told(policy, config)


def report(spec: Spec, config: RunConfig, progress: Progress) -> Receipt:
    """Writes the HTML report of an evaluation."""
    from qstar_core.evaluation.assemble import assemble
    from qstar_core.evaluation.report import render

    return _page(spec, assemble(spec["inputs"], spec["key"], config), render, progress)


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
) -> Receipt:
    scratch = open_store(spec["uri"]).scratch()
    page = scratch / "report.html"
    data = replace(data, environment=as_mapping(data.environment))
    page.write_text(render(data), encoding="utf-8")
    receipt = _put(spec, scratch, [page], figures or {})
    progress(1, 1, "report", "")
    return receipt


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
    "labels": labels,
    "qvm": qvm,
    "evaluation": evaluation,
    "report": report,
    "comparison": sweep,
    "timing": sweep,
    "comparison_report": comparison_report,
    "pretrain": pretrain,
}
