"""Two data sets by the ids of their rows: equal, different, only in one of them.

Rows are compared exactly, all columns that both have; NaN equals NaN, null equals null. Columns
that only measure (`MEASURED`) are left out, which the result says. What changed together is
counted, so that a set of labels made by another method, gamma or grader says why.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from qstar_core.errors import UserError
from qstar_core.provenance import rows
from qstar_core.provenance.changes import DECLARED, changed, only_declared, reason
from qstar_core.provenance.manifests import Manifest, folder_of, read
from qstar_core.provenance.rows import OTHER, ROW, Pairs, TooFarApart
from qstar_core.stage import kind_of

IDS = {
    "problems": ["problem_id"],
    "rollouts": ["rollout_id"],
    "pool": ["rollout_id"],
    "labels": ["rollout_id", "step_index"],
    "qvm": ["rollout_id", "step_index"],
    "annotations": ["rollout_id", "step_index"],
    "prm": ["rollout_id", "step_index"],
    "sft": ["rollout_id"],
    "episodes": ["episode_id"],
    "adaptive": ["episode_id"],
    "evaluation": ["problem_id", "method"],
    "comparison": ["problem_id", "method", "budget"],
    "timing": ["problem_id", "method", "budget"],
    "rounds": ["round", "method"],
}
"""Columns that tell the rows of a kind apart; ``pool_states`` is of the kind ``pool``."""
MEASURED = ("seconds", "wall_s")
"""Columns that would differ from run to run, as they measure it; none of them is a row's own."""
FIRST = 5  # rows shown of each sort


@dataclass
class Difference:
    """What was found.

    Attributes:
        a: the first data set.
        b: the second.
        by: columns that tell rows apart.
        rows: of the first and the second.
        equal: rows that are equal in all columns compared.
        different: rows of both that differ.
        only: rows that only the first, only the second has.
        moved: rows of both at another place in the second; counted where no row is missing.
        columns: in how many rows each column differs.
        largest: largest absolute difference of each column of numbers that differs.
        reasons: what changed together, and in how many rows.
        first: the first rows that differ: their ids and, by column, both values. Those that differ
            only in what is declared of the whole data set (method, grader, ...) come last.
        first_only: ids of the first rows that only the first, only the second has.
        schema: columns with another type, or that one of them lacks: name, types.
        left_out: columns that both have and that were not compared.
    """

    a: str
    b: str
    by: list[str]
    rows: tuple[int, int] = (0, 0)
    equal: int = 0
    different: int = 0
    only: tuple[int, int] = (0, 0)
    moved: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    largest: dict[str, float] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[dict[str, Any]] = field(default_factory=list)
    first_only: tuple[list[dict[str, Any]], list[dict[str, Any]]] = field(
        default_factory=lambda: ([], [])
    )
    schema: list[tuple[str, str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def same_rows(self) -> bool:
        """Whether both have the same rows, in any order and whatever their types."""
        return not (self.different or any(self.only))

    @property
    def same(self) -> bool:
        """Whether both have the same rows in the same order and the same columns."""
        return self.same_rows and not self.moved and not self.schema


def diff(a: str, b: str, by: list[str] | None = None) -> Difference:
    """Compares two data sets.

    Args:
        a: folder or ``s3://bucket/prefix`` of the first, or its manifest.
        b: of the second.
        by: columns that tell rows apart; None is those of the kind.

    Raises:
        UserError: one is no data set or has no rows, or the columns do not tell its rows apart.
        Damaged: a file or a manifest cannot be read.
    """
    sides = [(folder, read(folder)) for folder in (folder_of(a), folder_of(b))]
    names = [_parquet(*side) for side in sides]
    schemas = [rows.schema(folder, files) for (folder, _), files in zip(sides, names, strict=True)]
    chosen = by or _ids(sides)
    for (folder, _), there in zip(sides, schemas, strict=True):
        if missing := [name for name in chosen if name not in there]:
            raise UserError(
                f"{folder} has no column {missing[0]}; there are {', '.join(there)}",
                next_step=f"qstar diff {a} {b} --by COLUMN,COLUMN",
            )
    sources = [(folder, files) for (folder, _), files in zip(sides, names, strict=True)]
    buckets = 1
    while True:
        found = Difference(sides[0][0], sides[1][0], chosen)
        _compare_schemas(found, *schemas)
        try:
            _pass(found, sources[0], sources[1], schemas[0], schemas[1], buckets)
            return found
        except TooFarApart:
            buckets *= rows.PASSES


def _ids(sides: list[tuple[str, Manifest]]) -> list[str]:
    """The id columns of the kind of two data sets."""
    kinds = [kind_of(manifest["kind"]) for _, manifest in sides]
    if kinds[0] == kinds[1] and kinds[0] in IDS:
        return IDS[kinds[0]]
    what = f"{sides[0][0]} has {kinds[0]}, {sides[1][0]} has {kinds[1]}"
    raise UserError(
        what if kinds[0] != kinds[1] else f"what tells rows of kind {kinds[0]} apart is not known",
        next_step="name two data sets of one kind, or columns that tell rows apart: "
        "--by COLUMN,COLUMN",
    )


def _parquet(folder: str, manifest: Manifest) -> list[str]:
    names = [entry["name"] for entry in manifest["files"] if entry["name"].endswith(".parquet")]
    if not names:
        raise UserError(
            f"{folder} has no rows to compare: it is of kind {manifest['kind']}",
            next_step=f"qstar show {folder}",
        )
    return names


def _compare_schemas(found: Difference, a: pl.Schema, b: pl.Schema) -> None:
    for name in dict.fromkeys([*a, *b]):
        if a.get(name) != b.get(name):
            kinds = (str(side[name]) if name in side else "none" for side in (a, b))
            found.schema.append((name, *kinds))
    found.left_out = [name for name in a if name in b and name in MEASURED]


def _pass(
    found: Difference,
    a: tuple[str, list[str]],
    b: tuple[str, list[str]],
    schema_a: pl.Schema,
    schema_b: pl.Schema,
    buckets: int,
) -> None:
    """Compares all rows, in as many passes as there are buckets."""
    apart = {*found.by, *MEASURED}
    columns = [name for name in schema_a if name in schema_b and name not in apart]
    as_text = [name for name in found.by if schema_a[name] != schema_b[name]]
    kinds = {f"{n}{OTHER}": schema_a[n] for n in columns if schema_a[n] != schema_b[n]}
    for bucket in range(buckets):
        for batch in rows.pairs(a, b, found.by, columns, as_text, bucket, buckets):
            if len(batch.both):
                both = batch.both.cast(kinds, strict=False) if kinds else batch.both  # type: ignore[arg-type]
                _take(found, both, columns, schema_a)
            _take_only(found, batch)
    only = (sorted(some, key=lambda row: row[ROW])[:FIRST] for some in found.first_only)
    found.first_only = (next(only), next(only))
    if any(found.only):
        found.moved = 0
    total = found.equal + found.different
    found.rows = (total + found.only[0], total + found.only[1])


def _take(found: Difference, both: pl.DataFrame, columns: list[str], schema: pl.Schema) -> None:
    """Adds matched rows."""
    marks = both.select(changed(name).alias(name) for name in columns)
    differ = marks.select(pl.any_horizontal(pl.all())).to_series() if columns else None
    found.moved += int((both[ROW] != both[f"{ROW}{OTHER}"]).sum())
    if differ is None or not differ.any():
        found.equal += len(both)
        return
    found.equal += int((~differ).sum())
    found.different += int(differ.sum())
    counts = marks.sum().row(0, named=True)
    touched = [name for name in columns if counts[name]]
    found.columns.update({name: int(counts[name]) for name in touched})
    some = both.filter(differ)
    for name in touched:
        if schema[name].is_numeric():
            gap = (some[name].cast(pl.Float64) - some[f"{name}{OTHER}"].cast(pl.Float64)).abs()
            largest = gap.drop_nans().max()
            if isinstance(largest, float):
                found.largest[name] = max(found.largest.get(name, 0.0), largest)
    why = some.select(why=reason(touched)).to_series().value_counts()
    found.reasons.update(dict(why.iter_rows()))
    for row in some.sort(only_declared(touched), ROW).head(FIRST).iter_rows(named=True):
        values = {n: [row[n], row[f"{n}{OTHER}"]] for n in touched if _unequal(row, n)}
        found.first.append({ROW: row[ROW], **{n: row[n] for n in found.by}, "columns": values})
    found.first = sorted(found.first, key=_weight)[:FIRST]


def _weight(row: dict[str, Any]) -> tuple[bool, int]:
    """Rows in which something came of what is declared are shown before others."""
    return DECLARED.issuperset(row["columns"]), row[ROW]


def _unequal(row: dict[str, Any], name: str) -> bool:
    return repr(row[name]) != repr(row[f"{name}{OTHER}"])


def _take_only(found: Difference, batch: Pairs) -> None:
    """Adds rows without a partner."""
    counts = list(found.only)
    for side, frame in enumerate((batch.only_a, batch.only_b)):
        if frame is not None:
            counts[side] += len(frame)
            found.first_only[side].extend(
                frame.select(ROW, *found.by).head(FIRST).iter_rows(named=True)
            )
    found.only = (counts[0], counts[1])
