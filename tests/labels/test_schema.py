from __future__ import annotations

import json
from pathlib import Path as File

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qstar_core.labels.schema import REPEATED, SCHEMA, LabelFile, file_schema, to_table
from qstar_core.labels.soft import soft
from qstar_core.store.columns import description
from tests.labels.paths import Path, table

PATHS = [Path("ab", True), Path("ac"), Path("de")] * 2


@pytest.fixture
def labels() -> pl.DataFrame:
    return soft(table(PATHS), 0.5, eta=0.2).collect()


@pytest.fixture
def file(tmp_path: File, labels: pl.DataFrame) -> File:
    path = tmp_path / "labels.parquet"
    schema = file_schema("soft", 0.5, {"eta": 0.2}, rollouts="abc")
    with LabelFile(path, schema) as written:
        written.write(labels.head(5))
        written.write(labels.tail(-5))
    return path


def test_every_column_says_what_it_is() -> None:
    for field in SCHEMA:
        assert len(description(field)) > 5, field.name
        assert not description(field).endswith(".")
    assert set(REPEATED) <= set(SCHEMA.names)


def test_the_file_says_how_its_labels_were_made(file: File) -> None:
    schema = pq.read_schema(file)
    assert schema.equals(SCHEMA)
    assert description(schema.field("y")) == description(SCHEMA.field("y"))
    facts = {k.decode(): v.decode() for k, v in schema.metadata.items()}
    assert facts["qstar.method"] == "soft"
    assert float(facts["qstar.gamma"]) == 0.5
    assert json.loads(facts["qstar.parameters"]) == {"eta": 0.2}
    assert facts["qstar.rollouts"] == "abc"
    assert facts["qstar.schema_version"] == "1"


def test_repeated_strings_are_dictionary_encoded_with_zstd(file: File) -> None:
    group = pq.ParquetFile(file).metadata.row_group(0)
    columns = [group.column(k) for k in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    encoded = {c.path_in_schema for c in columns if "RLE_DICTIONARY" in c.encodings}
    assert encoded == set(REPEATED)
    kept = pq.read_table(file, read_dictionary=list(REPEATED))
    assert all(pa.types.is_dictionary(kept.schema.field(name).type) for name in REPEATED)


def test_equal_labels_give_equal_bytes(tmp_path: File, labels: pl.DataFrame) -> None:
    schema = file_schema("soft", 0.5, {"eta": 0.2})
    for name in "ab":
        with LabelFile(tmp_path / name, schema) as written:
            written.write(labels)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_missing_label_is_refused(labels: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="null"):
        to_table(labels.with_columns(y=pl.lit(None, dtype=pl.Float64)))


def test_opens_in_polars_and_pyarrow(file: File, labels: pl.DataFrame) -> None:
    assert pl.read_parquet(file).equals(labels)
    assert pq.read_table(file).num_rows == len(labels)
    problems = pl.LazyFrame({"problem_id": ["p"], "prompt": ["1 2 > 3\n"]})
    joined = pl.scan_parquet(file).join(problems, on="problem_id").collect()
    assert len(joined) == len(labels)


def test_opens_in_duckdb(file: File, labels: pl.DataFrame) -> None:
    import duckdb

    query = f"select action, avg(y), count(*) from '{file}' group by action order by action"
    expected = labels.group_by("action").agg(y=pl.col("y").mean(), n=pl.len()).sort("action")
    found = duckdb.sql(query).fetchall()
    assert [row[0] for row in found] == expected["action"].to_list()
    assert [row[1] for row in found] == pytest.approx(expected["y"].to_list())
    assert [row[2] for row in found] == expected["n"].to_list()


def test_opens_in_datasets(file: File, labels: pl.DataFrame, tmp_path: File) -> None:
    import datasets

    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=cache)
    assert loaded.column_names == SCHEMA.names
    assert loaded["y"][:] == labels["y"].to_list()
    assert loaded[0]["action"] == "a"
