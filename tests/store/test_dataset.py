from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from qstar_core.errors import UserError
from qstar_core.store import dataset, open_store
from qstar_core.store.local import LocalStore


def make_shard(uri: str, shard: str, rows: int) -> dict[str, object]:
    scratch = open_store(uri).scratch()
    file = scratch / f"part-{shard}.parquet"
    dataset.write_table(file, pa.table({"x": list(range(rows))}))
    return dataset.finish_shard(uri, shard, [file], {"seconds": 1.0})


def test_a_shard_is_finished_once_its_receipt_is_there(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    assert dataset.finished_shard(uri, "a") is None
    receipt = make_shard(uri, "a", 3)
    assert dataset.finished_shard(uri, "a") == receipt
    assert receipt["rows"] == 3


def test_a_receipt_without_its_file_does_not_count(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    make_shard(uri, "a", 3)
    part = tmp_path / "set" / "part-a.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    assert dataset.finished_shard(uri, "a") is None
    part.unlink()
    assert dataset.finished_shard(uri, "a") is None


def test_publish_puts_the_manifest_last_and_clears_rubbish(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    receipts = [make_shard(uri, s, n) for s, n in (("a", 3), ("b", 4))]
    make_shard(uri, "old-size", 9)
    open_store(uri).scratch()
    assert dataset.read_manifest(uri) is None
    with pytest.raises(UserError, match="no complete data set"):
        dataset.data_files(uri)
    manifest = dataset.publish(uri, {"kind": "test"}, receipts)
    assert manifest["rows"] == 7
    assert manifest["schema"] == [["x", "int64"]]
    assert dataset.read_manifest(uri) == manifest
    assert [Path(f).name for f in dataset.data_files(uri)] == ["part-a.parquet", "part-b.parquet"]
    assert open_store(uri).names() == [
        "manifest.json",
        "part-a.parquet",
        "part-b.parquet",
        "shards/a.json",
        "shards/b.json",
    ]
    assert not (tmp_path / "set" / ".writing").exists()


def test_publishing_twice_keeps_the_first_manifest(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    receipts = [make_shard(uri, "a", 3)]
    first = dataset.publish(uri, {"created": "first"}, receipts)
    assert dataset.publish(uri, {"created": "second"}, receipts) == first


def test_a_document_is_listed_with_its_sha256_and_survives(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    receipts = [make_shard(uri, "a", 3)]
    manifest = dataset.publish(uri, {}, receipts, {"CARD.md": b"# Card\n"})
    entry = manifest["files"][-1]
    card = tmp_path / "set" / "CARD.md"
    assert entry == {"name": "CARD.md", "bytes": 7, "sha256": dataset.sha256_of(card)}
    assert manifest["rows"] == 3
    assert open_store(uri).names()[0] == "CARD.md"
    assert [Path(f).name for f in dataset.data_files(uri)] == ["part-a.parquet"]
    assert dataset.publish(uri, {}, receipts, {"CARD.md": b"other"}) == manifest
    assert card.read_bytes() == b"# Card\n"
    card.write_text("")
    with pytest.raises(UserError, match=r"CARD\.md is missing or damaged"):
        dataset.read_complete(uri)


def test_a_document_that_is_there_already_stays_and_is_listed_as_it_is(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    receipts = [make_shard(uri, "a", 3)]
    open_store(uri).put_new("CARD.md", b"first")  # by a killed run, or by one about to publish
    manifest = dataset.publish(uri, {}, receipts, {"CARD.md": b"the second"})
    card = tmp_path / "set" / "CARD.md"
    assert card.read_bytes() == b"first"
    assert manifest["files"][-1]["sha256"] == dataset.sha256_of(card)
    assert dataset.read_complete(uri) == manifest


def test_a_document_is_never_put_into_a_published_data_set(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    receipts = [make_shard(uri, "a", 3)]
    first = dataset.publish(uri, {}, receipts)
    assert dataset.publish(uri, {}, receipts, {"CARD.md": b"late"}) == first
    assert not (tmp_path / "set" / "CARD.md").exists()


def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    dataset.publish(uri, {}, [make_shard(uri, "a", 3)])
    (tmp_path / "set" / "part-a.parquet").unlink()
    with pytest.raises(UserError, match=r"part-a\.parquet") as caught:
        dataset.data_files(uri)
    assert "rm -r" in caught.value.next_step


def test_a_folder_with_the_name_of_another_key_is_refused(tmp_path: Path) -> None:
    key, other = "0" * 24, "1" * 24
    shard = make_shard(str(tmp_path / key), "a", 3)
    dataset.publish(str(tmp_path / key), {"kind": "labels", "key": key}, [shard])
    assert dataset.read_complete(str(tmp_path / key)) is not None
    (tmp_path / key).rename(tmp_path / other)
    with pytest.raises(UserError, match=f"the key {key}") as caught:
        dataset.read_complete(str(tmp_path / other))
    assert f"rename the folder to {key}" in caught.value.next_step


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    uri = str(tmp_path / "set")
    dataset.publish(uri, {}, [make_shard(uri, "a", 3)])
    (tmp_path / "set" / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        dataset.read_manifest(uri)


@pytest.mark.parametrize("named", ["", ".", "manifest.json", "./manifest.json/", "../a", "../a/"])
def test_a_manifest_or_its_folder_names_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert dataset.folder_of(named) == str(tmp_path / "a")
    assert dataset.folder_of("s3://b/a/manifest.json") == dataset.folder_of("s3://b/a/")


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    table = pa.table({"x": ["a", "b"], "y": [[1.0], [2.0, 3.0]]})
    for name in ("one", "two"):
        dataset.write_table(tmp_path / name, table)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert dataset.sha256_of(tmp_path / "one") == dataset.sha256_of(tmp_path / "two")


def test_put_new_never_overwrites(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "s"))
    assert store.put_new("a/b.json", b"1")
    assert not store.put_new("a/b.json", b"2")
    assert store.read("a/b.json") == b"1"
    store.replace("a/b.json", b"3")
    assert json.loads(store.read("a/b.json")) == 3
    assert store.names() == ["a/b.json"]
    store.delete("a/b.json")
    store.delete("a/b.json")
    assert not store.exists("a/b.json")


def test_rubbish_that_cannot_be_removed_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "set")
    manifest = dataset.publish(uri, {}, [make_shard(uri, "a", 3)])
    (tmp_path / "set" / "unlisted").write_text("")
    open_store(uri).scratch()

    def refuse(store: LocalStore, name: str) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(LocalStore, "delete", refuse)
    dataset.clear_rubbish(uri, manifest)
    assert dataset.read_complete(uri) == manifest


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt"])
def test_manifest_that_names_a_file_outside_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"files": [{"name": name, "bytes": 1}]}))
    with pytest.raises(UserError, match="outside of its data set"):
        dataset.read_manifest(str(tmp_path))
