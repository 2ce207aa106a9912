"""The rows of two data sets side by side, matched by their ids, in bounded memory.

Both are read in batches. Rows that wait for their partner are kept; where the two are ordered
alike, and data sets of one kind mostly are, these are few. Where they are not, and more than
`WAITING_BYTES` would have to be kept, the work begins again in several passes, each over the rows
whose ids fall into one hash bucket.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from qstar_core.errors import UserError
from qstar_core.provenance.manifests import Damaged
from qstar_core.store import filesystem
from qstar_core.store.uri import join

BATCH_BYTES = 32 * 2**20  # uncompressed, of each side
BATCH_ROWS = 32_768
WAITING_BYTES = 192 * 2**20
PASSES = 4  # times as many when too much would have to be kept
MOST_PASSES = 4**6
OTHER = ":b"  # end of the names of the second data set's columns
ROW = ":row"
"""Number of a row in its data set, from 0."""


@dataclass(frozen=True)
class Pairs:
    """One batch of what was found.

    Attributes:
        both: matched rows; columns of the second data set end in `OTHER`.
        only_a: at the end of a pass, rows that only the first data set has.
        only_b: the same of the second.
    """

    both: pl.DataFrame
    only_a: pl.DataFrame | None = None
    only_b: pl.DataFrame | None = None


class TooFarApart(Exception):
    """More rows would wait for their partners than may be kept."""


def schema(uri: str, files: list[str]) -> pl.Schema:
    """The columns of a data set, from its first file."""
    import pyarrow.parquet as pq

    system, base = filesystem(uri)
    with system.open_input_file(f"{base}/{files[0]}") as file:
        found = pl.from_arrow(pq.read_schema(file).empty_table())
    assert isinstance(found, pl.DataFrame)
    return _spelled_out(found).schema


def pairs(
    a: tuple[str, list[str]],
    b: tuple[str, list[str]],
    by: list[str],
    columns: list[str],
    as_text: list[str],
    bucket: int = 0,
    of: int = 1,
) -> Iterator[Pairs]:
    """One pass: matched rows batch by batch, at last those without a partner.

    Args:
        a: folder and Parquet files of the first data set.
        b: those of the second.
        by: columns that tell rows apart.
        columns: to read besides; those that both have.
        as_text: those of ``by`` that have another type in the second data set.
        bucket: which rows, by the hash of their ids.
        of: number of buckets.

    Raises:
        TooFarApart: the data sets are ordered too differently for so few buckets.
        UserError: two rows of one data set have the same id.
        Damaged: a file cannot be read.
    """
    waiting: list[pl.DataFrame | None] = [None, None]
    sources = [_batches(*side, [*by, *columns]) for side in (a, b)]
    while True:
        fresh = [next(source, None) for source in sources]
        if all(each is None for each in fresh):
            break
        for side, uri in enumerate((a[0], b[0])):
            new = fresh[side]
            if new is not None:
                new = _chosen(new.cast(dict.fromkeys(as_text, pl.String)), by, bucket, of)
                waiting[side] = _joined(waiting[side], new, by, uri)
        left, right = waiting
        if left is not None and right is not None:
            both = left.join(right, on=by, how="inner", suffix=OTHER, maintain_order="left")
            waiting = [each.join(both, on=by, how="anti") for each in (left, right)]
            yield Pairs(both)
        kept = sum(each.estimated_size() for each in waiting if each is not None)
        if kept > WAITING_BYTES and of < MOST_PASSES:
            raise TooFarApart
    yield Pairs(pl.DataFrame(), *waiting)


def _joined(
    kept: pl.DataFrame | None, fresh: pl.DataFrame, by: list[str], uri: str
) -> pl.DataFrame:
    found = fresh if kept is None else pl.concat([kept, fresh], how="vertical_relaxed")
    twice = found.select(by).filter(pl.struct(by).is_duplicated())
    if len(twice):
        raise UserError(
            f"{uri} has several rows with {_named(twice.row(0, named=True))}",
            next_step="name the columns that tell its rows apart, for example "
            "--by rollout_id,step_index",
        )
    return found


def _named(row: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items())


def _chosen(frame: pl.DataFrame, by: list[str], bucket: int, of: int) -> pl.DataFrame:
    if of == 1:
        return frame
    ids = pl.concat_str([pl.col(name).cast(pl.String) for name in by], separator="\x1f")
    return frame.filter(ids.hash() % of == bucket)


def _batches(uri: str, files: list[str], columns: list[str]) -> Iterator[pl.DataFrame]:
    """The rows of a data set in batches of some `BATCH_BYTES`, numbered."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    system, base = filesystem(uri)
    done = 0
    for name in files:
        try:
            with system.open_input_file(f"{base}/{name}") as opened:
                file = pq.ParquetFile(opened)
                size = _batch_rows(file.metadata)
                for batch in file.iter_batches(batch_size=size, columns=columns):
                    frame = pl.from_arrow(pa.Table.from_batches([batch]))
                    assert isinstance(frame, pl.DataFrame)
                    yield _spelled_out(frame).select(columns).with_row_index(ROW, done)
                    done += len(frame)
        except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
            raise Damaged(
                f"{join(uri, name)} cannot be read: {error}", next_step=f"qstar verify {uri}"
            ) from error


def _batch_rows(metadata: Any) -> int:
    """Rows of a batch, by how large rows are in this file."""
    size = sum(metadata.row_group(k).total_byte_size for k in range(metadata.num_row_groups))
    each = max(1, int(size) // max(1, int(metadata.num_rows)))
    return max(1, min(BATCH_ROWS, BATCH_BYTES // each))


def _spelled_out(frame: pl.DataFrame) -> pl.DataFrame:
    """Text instead of dictionary codes, which differ from file to file."""
    found = {name: _plain(kind) for name, kind in frame.schema.items()}
    changed = {name: kind for name, kind in found.items() if kind != frame.schema[name]}
    return frame.cast(changed) if changed else frame  # type: ignore[arg-type]


def _plain(kind: pl.DataType) -> pl.DataType:
    if isinstance(kind, pl.Categorical | pl.Enum):
        return pl.String()
    if isinstance(kind, pl.List):
        return pl.List(_plain(kind.inner))  # type: ignore[arg-type]
    if isinstance(kind, pl.Struct):
        return pl.Struct([pl.Field(each.name, _plain(each.dtype)) for each in kind.fields])  # type: ignore[arg-type]
    return kind
