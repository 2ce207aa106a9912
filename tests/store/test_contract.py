"""One suite for every store: what the publish protocol asks of a local folder and of S3."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qstar_core.store import Store, cache, dataset, entries, open_store, s3
from qstar_core.store.s3 import PART_BYTES

from .test_dataset import make_shard

Root = Callable[[str], str]


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "root")
    return str(request.getfixturevalue("bucket")) + "/some/prefix"


@pytest.fixture
def store(root: str) -> Store:
    return open_store(root)


def put(store: Store, name: str, content: bytes) -> None:
    source = store.scratch() / "file"
    source.write_bytes(content)
    store.put(name, source)
    assert not source.exists()


def test_put_read_size_and_delete(store: Store) -> None:
    put(store, "a/part.parquet", b"first")
    put(store, "a/part.parquet", b"second")
    assert store.read("a/part.parquet") == b"second"
    assert store.size("a/part.parquet") == 6
    assert store.exists("a/part.parquet")
    store.delete("a/part.parquet")
    store.delete("a/part.parquet")
    assert not store.exists("a/part.parquet")
    assert store.size("a/part.parquet") is None


def test_everything_below_is_listed_and_removed(store: Store, root: str) -> None:
    put(store, "b/part.parquet", b"first")
    below = open_store(f"{root}/b")
    below.begin_writing()
    if not below.unfinished():  # a local folder is marked by its lock
        (below.scratch() / "half").write_bytes(b"12")
    assert set(store.everything()) > {"b/part.parquet"}
    assert any(".writing" in name for name in store.everything())
    put(store, "c", b"kept")
    below.remove()
    assert not below.unfinished()
    assert store.everything().keys() == store.sizes().keys() == {"c"}


def test_what_is_not_there_is_said(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("nothing")
    with pytest.raises(FileNotFoundError):
        store.download("nothing", tmp_path / "x")
    assert store.sizes() == {}


def test_a_name_is_put_new_once(store: Store) -> None:
    assert store.put_new("m.json", b"1")
    store.put_new("m.json", b"2")
    assert store.read("m.json") == b"1"
    store.replace("m.json", b"3")
    assert store.read("m.json") == b"3"
    assert store.put_new("n.json", b"2")
    assert not store.put_new("n.json", b"other")


def test_of_many_at_once_one_puts_new(store: Store) -> None:
    contents = [str(k).encode() for k in range(16)]
    with ThreadPoolExecutor(16) as pool:
        written = list(pool.map(lambda c: store.put_new("manifest.json", c), contents))
    assert sum(written) == 1
    assert store.read("manifest.json") == contents[written.index(True)]


def test_names_are_those_below_the_root(store: Store, root: str) -> None:
    for name in ("b", "a/1", "a/2", "manifest.json"):
        store.replace(name, name.encode())
    open_store(root + "-other").replace("x", b"")
    assert store.names() == ["a/1", "a/2", "b", "manifest.json"]
    assert store.sizes()["a/1"] == 3
    store.begin_writing()
    assert len(store.names()) == 4


def test_more_names_than_one_page_of_a_listing_has(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "PAGE", 4)
    store = open_store(bucket)
    names = [f"part-{k:04d}" for k in range(10)]
    for name in names:
        store.replace(name, b"")
    assert store.names() == names


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, 2 * PART_BYTES + 12_345])
def test_large_files_come_back_as_they_were(store: Store, tmp_path: Path, size: int) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    put(store, "model.safetensors", content)
    assert store.size("model.safetensors") == size
    store.download("model.safetensors", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_a_data_set_is_published(root: str) -> None:
    receipts = [make_shard(root, shard, rows) for shard, rows in (("a", 3), ("b", 4))]
    make_shard(root, "left-over", 9)
    store = open_store(root)
    with dataset.making(root, no_wait):
        assert store.unfinished()
        assert dataset.finished_shard(root, "a") == receipts[0]
        assert dataset.finished_shard(root, "c") is None
        assert dataset.read_manifest(root) is None
        manifest = dataset.publish(root, {"kind": "test"}, receipts)
    assert manifest["rows"] == 7
    assert manifest["schema"] == [["x", "int64"]]
    assert dataset.read_complete(root) == manifest
    kept = ["manifest.json", "part-a.parquet", "part-b.parquet", "shards/a.json", "shards/b.json"]
    assert store.names() == kept
    assert not store.unfinished()
    assert [Path(f).name for f in dataset.data_files(root)] == kept[1:3]
    assert dataset.publish(root, {"kind": "again"}, receipts) == manifest


def test_of_two_machines_one_puts_the_card_and_both_name_it(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipts = [make_shard(root, "a", 3)]
    schema, others = entries.schema_of, []

    def slow(store: Store, files: list[dict[str, object]]) -> list[list[str]]:
        if not others:  # another one publishes between our card and our manifest
            others.append({})
            others[0] = dataset.publish(root, {}, receipts, {"CARD.md": b"the other card"})
        return schema(store, files)

    monkeypatch.setattr(dataset, "schema_of", slow)
    assert dataset.publish(root, {}, receipts, {"CARD.md": b"card"}) == others[0]
    assert dataset.read_complete(root) == others[0]
    assert open_store(root).read("CARD.md") == b"card"


def test_what_a_kill_after_the_manifest_left_is_cleared(root: str) -> None:
    store = open_store(root)
    with dataset.making(root, no_wait):
        manifest = dataset.publish(root, {}, [make_shard(root, "a", 3)])
        store.replace("part-of-a-killed-run.parquet", b"x")
        store.begin_writing()
        store.scratch()
    dataset.clear_rubbish(root, manifest)
    assert store.names() == ["manifest.json", "part-a.parquet", "shards/a.json"]
    assert not store.unfinished()


def test_kept_work_is_found_again_until_the_data_set_is_published(root: str) -> None:
    with dataset.making(root, no_wait):
        kept = open_store(root).kept("model")
        (kept / "half").write_bytes(b"12")
        assert open_store(root).kept("model") == kept
        assert open_store(root).kept("other") != kept
        assert open_store(root).names() == []
        dataset.publish(root, {}, [make_shard(root, "a", 3)])
    assert not kept.exists()


def test_a_changed_file_of_the_same_size_is_found(root: str) -> None:
    dataset.publish(root, {}, [make_shard(root, "a", 3)])
    store = open_store(root)
    content = bytearray(store.read("part-a.parquet"))
    content[len(content) // 2] ^= 1
    store.replace("part-a.parquet", bytes(content))
    clear_cache()
    with pytest.raises(dataset.UserError, match=r"part-a\.parquet is not what its sha256"):
        dataset.data_files(root)
    with pytest.raises(dataset.UserError, match=r"part-a\.parquet") as caught:
        dataset.local_folder(root)
    assert root in caught.value.next_step


def test_a_missing_file_is_found(root: str) -> None:
    dataset.publish(root, {}, [make_shard(root, "a", 3)])
    open_store(root).delete("part-a.parquet")
    with pytest.raises(dataset.UserError, match=r"part-a\.parquet is missing"):
        dataset.read_complete(root)


def clear_cache() -> None:
    import shutil

    shutil.rmtree(cache.root() / "files", ignore_errors=True)


def no_wait(holder: str) -> None:
    raise AssertionError(f"nobody should hold the lock, but: {holder}")
