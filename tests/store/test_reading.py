"""polars, pyarrow and people read a published data set from where it lies."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from qstar_core.errors import UserError
from qstar_core.store import dataset, filesystem, open_store, scan
from qstar_core.store.copying import fetch

from .test_dataset import make_shard


@pytest.fixture(params=["local", "s3"])
def published(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    root = str(tmp_path / "set")
    if request.param == "s3":
        root = str(request.getfixturevalue("bucket")) + "/set"
    dataset.publish(root, {"kind": "test"}, [make_shard(root, "a", 3), make_shard(root, "b", 4)])
    open_store(root).replace("part-z.parquet", b"not of the data set")
    return root


def test_polars_scans_it(published: str) -> None:
    assert scan(published).collect()["x"].to_list() == [0, 1, 2, 0, 1, 2, 3]
    assert scan(published).filter(x=3).select("x").collect().height == 1


def test_pyarrow_reads_it(published: str) -> None:
    system, path = filesystem(published)
    assert pq.read_table(f"{path}/part-b.parquet", filesystem=system).num_rows == 4


def test_what_has_no_rows_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no complete data set"):
        scan(str(tmp_path))
    dataset.publish(str(tmp_path), {}, [])
    with pytest.raises(UserError, match="no Parquet file"):
        scan(str(tmp_path))


def test_credentials_are_needed(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(UserError, match="no AWS credentials"):
        filesystem(bucket)


def test_it_is_fetched_to_a_folder(published: str, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    assert fetch(published, str(folder)) == ["part-a.parquet", "part-b.parquet"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.json",
        "part-a.parquet",
        "part-b.parquet",
    ]
    assert scan(str(folder)).collect().height == 7
    (folder / "part-a.parquet").unlink()
    fetch(published, str(folder))
    assert dataset.data_files(str(folder))


def test_nothing_damaged_is_fetched(published: str, tmp_path: Path) -> None:
    store = open_store(published)
    content = store.read("part-b.parquet")
    store.replace("part-b.parquet", content[::-1])
    with pytest.raises(UserError, match=r"part-b\.parquet is not what its sha256 says"):
        fetch(published, str(tmp_path / "copy"))
    assert not (tmp_path / "copy" / "manifest.json").exists()


def test_another_data_set_is_not_overwritten(published: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    dataset.publish(other, {"kind": "other"}, [make_shard(other, "a", 1)])
    with pytest.raises(UserError, match="has another data set in it"):
        fetch(published, other)
    assert scan(other).collect().height == 1
    with pytest.raises(UserError, match="no complete data set"):
        fetch(str(tmp_path), other)
