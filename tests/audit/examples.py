"""Small published data sets to audit: problems, rollouts, pools and labels, made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from qstar_core.config import RunConfig
from qstar_core.domains import countdown, problem_table
from qstar_core.labels.best_of_rollouts import best_of_rollouts
from qstar_core.mdp import Problem
from qstar_core.rollouts.sample import SCHEMA, step_ids
from qstar_core.stage import kind_of
from qstar_core.store import dataset, open_store

PATHS = pa.schema([*SCHEMA, pa.field("source", pa.string()), pa.field("prefix_steps", pa.int32())])

# Of 3 2 1 > 6: 3 * 2 * 1, and 3 + 2 + 1.
PROBLEM = countdown.make_problem([1, 2, 3], 6)
GOOD, WIN = "3 + 2 = 5 | 5 1 > 6\n", "5 + 1 = 6 | 6 > 6"
LOSE = "5 - 1 = 4 | 4 > 6"
BAD, END = "3 - 2 = 1 | 1 1 > 6\n", "1 + 1 = 2 | 2 > 6"
MISSPELT = "5+1=6 | 6 > 6"

POOL_TOKENS = 500
"""That a pool says in its manifest to have cost, whatever its rows hold."""

Play = Sequence[str]


def path(problem: Problem, texts: Play, index: int, **more: Any) -> dict[str, Any]:
    """A row of `SCHEMA`, graded; or of `PATHS`."""
    grade = countdown.grade(problem, texts)
    steps = [
        {
            "text": text,
            "tokens": 10,
            "logprob": -1.0,
            "ended": t == len(texts) - 1,
            "state_id": state,
            "action_id": action,
        }
        for t, (text, (state, action)) in enumerate(
            zip(texts, step_ids(problem, texts), strict=True)
        )
    ]
    return {
        "rollout_id": f"{problem.id}-{index}",
        "problem_id": problem.id,
        "sample_index": index,
        "seed": index,
        "steps": steps,
        "n_steps": len(texts),
        "tokens": 10 * len(texts),
        "finish": "end",
        "outcome": str(grade.outcome),
        "answer": grade.answer,
        "grader": countdown.GRADER,
        "grader_version": countdown.GRADER_VERSION,
        "policy": "policy",
        "temperature": 1.0,
        "split": problem.split,
        **more,
    }


def rollouts(plays: Sequence[Play], problem: Problem = PROBLEM) -> list[dict[str, Any]]:
    """Rows of `SCHEMA`, graded, one for each play."""
    return [path(problem, play, k) for k, play in enumerate(plays)]


def as_paths(rows: Sequence[Mapping[str, Any]]) -> pl.LazyFrame:
    """Rollouts as paths."""
    rows = [{"source": "rollouts", "prefix_steps": 0, **row} for row in rows]
    frame = pl.from_arrow(pa.Table.from_pylist(rows, schema=PATHS))
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()


def key_of(stage: str) -> str:
    """The key of a stage's data set."""
    return "key" if stage == kind_of(stage) else stage


def write(
    out: Path | str, stage: str, tables: Mapping[str, pa.Table], config: RunConfig, **head: Any
) -> str:
    """A published data set of a stage with a file per table; returns its folder.

    The key is the stage's name where a run may have several stages of its kind, else ``key``.
    """
    kind = kind_of(stage)
    key = key_of(stage)
    uri = f"{out}/{kind}/{key}"
    receipts = []
    for name, table in tables.items():
        file = open_store(uri).scratch() / f"part-{name}.parquet"
        dataset.write_table(file, table)
        receipts.append(dataset.finish_shard(uri, name, [file], {}))
    about = {
        "kind": kind,
        "key": key,
        "uri": uri,
        "config": config.model_dump(mode="json"),
        "rows_from": {"stage": stage},
        "inputs": {},
        "figures": {},
    }
    dataset.publish(uri, {**about, **head}, receipts)
    return uri


def write_problems(
    out: Path | str, train: Sequence[Problem], test: Sequence[Problem], config: RunConfig
) -> str:
    """A data set of problems."""
    tables = {
        split: problem_table.table(own, split) for split, own in (("train", train), ("test", test))
    }
    return write(out, "problems", tables, config)


def write_run(
    out: Path | str,
    plays: Mapping[Problem, Sequence[Play]],
    test: Sequence[Problem] = (),
    gamma: float = 1.0,
    pools: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    change: pl.Expr | None = None,
) -> str:
    """Problems, rollouts, pools and labels; returns the folder of the labels.

    Args:
        out: output folder.
        plays: of each training problem; each problem is a shard.
        test: test problems.
        gamma: of the labels.
        pools: rows of `PATHS` by kind.
        change: put in the place of the labels' ``y``.
    """
    config = RunConfig.model_validate({"out": str(out), "labels": {"gamma": gamma}})
    write_problems(out, list(plays), test, config)
    shards = {problem.id: rollouts(own, problem) for problem, own in plays.items()}
    tables = {name: pa.Table.from_pylist(rows, schema=SCHEMA) for name, rows in shards.items()}
    inputs = {"problems": "key"}
    write(out, "rollouts", tables, config, inputs=inputs, rows_from={"policy": "policy"})
    inputs = {**inputs, "rollouts": "key"}
    for kind, rows in (pools or {}).items():
        paths = pa.Table.from_pylist(list(rows), schema=PATHS)
        shape = {"kind": kind, "samples": None}
        stage, figures = f"pool_{kind}", {"tokens": POOL_TOKENS}
        write(out, stage, {"all": paths}, config, rows_from=shape, figures=figures)
        inputs[stage] = key_of(stage)
    labels = {}
    for name, rows in shards.items():
        frame = best_of_rollouts(as_paths(rows), gamma).collect()
        labels[name] = (frame if change is None else frame.with_columns(y=change)).to_arrow()
    return write(out, "labels", labels, config, inputs=inputs)
