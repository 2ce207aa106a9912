from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.provenance import rerun
from qstar_core.provenance.lineage import lineage
from qstar_core.provenance.manifests import Damaged
from qstar_core.provenance.verify import Verified, verify
from qstar_core.store import open_store
from qstar_core.store.copying import fetch

from .runs import edit, flip, swap

Manifest = dict[str, Any]


def only(uri: Path | str) -> Verified:
    (found,) = verify(str(uri))
    return found


def damage(uri: Path | str) -> dict[str, str]:
    """What is damaged, by file."""
    return {each.file: each.what for each in only(uri).findings if each.damage}


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def test_what_was_published_is_intact(out: Path) -> None:
    for stage, rows in (("problems", 16), ("rollouts", 48)):
        (folder,) = (out / stage).iterdir()
        found = only(folder)
        assert found.intact and not found.findings
        assert (found.kind, found.key, found.rows) == (stage, folder.name, rows)
        assert found.files == len(parts(folder)) + (stage == "rollouts")  # the data card
        assert found.bytes == sum(
            f.stat().st_size for f in [*parts(folder), *folder.glob("CARD.md")]
        )


def test_deep_looks_at_each_input_once_and_a_manifest_names_its_data_set(labels: Path) -> None:
    found = verify(f"{labels}/manifest.json", deep=True)
    assert [each.kind for each in found] == ["labels", "problems", "rollouts"]
    assert all(each.intact for each in found)


@pytest.mark.parametrize(
    "named", [".", "./", "manifest.json", "../{key}", "../{key}/manifest.json"]
)
def test_a_data_set_is_found_from_inside_its_folder(
    labels: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.chdir(labels)
    found = verify(named.format(key=labels.name), deep=True)
    assert [each.kind for each in found] == ["labels", "problems", "rollouts"]
    assert [each.findings for each in found] == [[], [], []]
    assert rerun.prepare(named.format(key=labels.name), "x").uri == str(labels)


def test_every_file_is_told_before_it_is_read(rollouts: Path) -> None:
    told: list[str] = []
    verify(str(rollouts), told=told.append)
    assert told == [str(file) for file in [*parts(rollouts), rollouts / "CARD.md"]]


def test_a_flipped_byte_is_named(rollouts: Path) -> None:
    part = parts(rollouts)[1]
    flip(part, part.stat().st_size // 2)
    assert list(damage(rollouts)) == [part.name]
    assert "content was changed: sha256" in damage(rollouts)[part.name]


@settings(max_examples=25)
@given(part=st.integers(0, 2), place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_any_flipped_byte_of_any_shard_is_found(
    whole: Path, part: int, place: float, bits: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(whole / "rollouts", Path(folder) / "rollouts")
        (copy,) = (Path(folder) / "rollouts").iterdir()
        file = parts(copy)[part]
        flip(file, int(place * file.stat().st_size), bits)
        assert file.name in damage(copy)


def test_swapped_shards_are_named_with_what_they_should_hold(rollouts: Path) -> None:
    one, _, other = parts(rollouts)
    swap(one, other)
    assert damage(rollouts) == {
        one.name: f"holds what {other.name} should hold",
        other.name: f"holds what {one.name} should hold",
    }


def test_shards_swapped_with_their_entries_contradict_the_receipts(rollouts: Path) -> None:
    one, other = parts(rollouts)[:2]
    swap(one, other)

    def exchange(manifest: Manifest) -> None:
        first, second = manifest["files"][:2]
        first["name"], second["name"] = second["name"], first["name"]

    edit(rollouts, exchange)
    found = damage(rollouts)
    assert {name for name in found if name.startswith("shards/")} == {
        "shards/p0000000-0000004.json",
        "shards/p0000004-0000008.json",
    }


def _seed_in_config(manifest: Manifest) -> None:
    manifest["config"]["seed"] = 1


def _seed_in_rows(manifest: Manifest) -> None:
    manifest["rows_from"]["seed"] = 1


def _seed_everywhere(manifest: Manifest) -> None:
    manifest["config"]["seed"] = manifest["rows_from"]["seed"] = 1
    manifest["key"] = content_id(manifest["rows_from"])


def _order(manifest: Manifest) -> None:
    manifest["files"].reverse()


def _shards(manifest: Manifest) -> None:
    manifest["files"].reverse()
    manifest["shards"].reverse()


def _columns(manifest: Manifest) -> None:
    manifest["schema"][3][1] = "double"
    del manifest["schema"][0]


def _key_of_an_input(manifest: Manifest) -> None:
    manifest["inputs"]["problems"] = "0" * 24


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_seed_in_config, ["seed is 1 in config and 0 in rows_from"]),
        (_seed_in_rows, ["is not the hash of rows_from", "seed is 0 in config and 1 in rows_from"]),
        (_seed_everywhere, ["its folder is named"]),
        (_order, ["files are not in shard order"]),
        (_shards, ["does not follow problem 0"]),
        (_columns, ["also rollout_id", "seed is int64, not double"]),
        (_key_of_an_input, ["its input problems is missing"]),
        (lambda m: m["config"]["rollouts"].update(samples=9), ["rollouts.samples is 9 in config"]),
        (lambda m: m.update(kind="labels"), ["it is of kind labels"]),
        (lambda m: m.update(rows=47), ["it says 47 rows, its files have 48"]),
        (lambda m: m["files"][0].update(rows=9), ["rows 16, the manifest says 9", "rows of part"]),
        (lambda m: m["files"][0].update(bytes=9), ["the manifest says 9", "bytes of part-"]),
        (lambda m: m["files"].pop(2), ["its files have 32", "which the manifest does not"]),
        (lambda m: m["shards"][1]["figures"].update(tokens=0), ["its figures tokens are others"]),
        (lambda m: m["shards"].pop(1), ["does not follow problem 4"]),
    ],
)
def test_a_changed_manifest_is_found(
    rollouts: Path, change: Callable[[Manifest], None], said: list[str]
) -> None:
    edit(rollouts, change)
    found = [each.what for each in only(rollouts).findings if each.damage]
    for words in said:
        assert any(words in what for what in found), found


def test_a_labels_manifest_with_another_input_contradicts_its_key(labels: Path) -> None:
    edit(labels, lambda manifest: manifest["inputs"].update(rollouts="0" * 24))
    found = [each.what for each in only(labels).findings]
    assert any("its input rollouts is 000000" in what for what in found)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[]", "manifest"),
        (b'{"kind": "x", "files": [{"name": "a", "bytes": -1, "sha256": "0"}]}', "files.0.bytes"),
        (b'{"kind": "x"}', "files"),
        (
            json.dumps(
                {"kind": "x", "files": [{"name": "../a", "bytes": 1, "sha256": "0" * 64}]}
            ).encode(),
            "../a lies outside",
        ),
    ],
)
def test_a_manifest_that_is_none_is_damage(rollouts: Path, content: bytes, said: str) -> None:
    (rollouts / "manifest.json").write_bytes(content)
    with pytest.raises(Damaged, match="damaged") as caught:
        verify(str(rollouts))
    assert said in caught.value.what
    assert caught.value.exit_code == 1


JSON = st.none() | st.booleans() | st.integers() | st.text() | st.just([]) | st.just({})


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a tree with each of its keys or indices."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    found = [(value, key) for key in keys]
    return found + [place for key in keys for place in places(value[key])]


@settings(max_examples=60)
@given(data=st.data(), gone=st.booleans(), other=JSON | st.lists(JSON))
def test_whatever_a_manifest_says_is_answered(
    whole: Path, data: st.DataObject, gone: bool, other: Any
) -> None:
    (source,) = (whole / "rollouts").iterdir()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "rollouts" / source.name
        shutil.copytree(source, copy)
        manifest = json.loads((copy / "manifest.json").read_text())
        container, key = data.draw(st.sampled_from(places(manifest)))
        if gone:
            del container[key]
        else:
            container[key] = other
        (copy / "manifest.json").write_text(json.dumps(manifest))
        for look in (verify, lineage):
            try:
                look(str(copy))
            except Damaged as error:
                assert "manifest.json is damaged" in error.what


@pytest.mark.parametrize(
    "inputs",
    [
        {"..": "0" * 24},
        {"../../etc": "0" * 24},
        {"": "0" * 24},
        {"rollouts": "../../../etc"},
        {"rollouts": "0" * 23},
        {"rollouts": "0" * 24 + "\n"},
    ],
)
def test_inputs_that_lead_out_of_the_output_folder_are_refused(
    labels: Path, inputs: dict[str, str]
) -> None:
    edit(labels, lambda manifest: manifest.update(inputs=inputs))
    for look in (verify, lineage):
        with pytest.raises(Damaged, match="inputs"):
            look(str(labels))


def test_where_no_data_set_is_the_argument_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no complete data set") as caught:
        verify(str(tmp_path))
    assert not isinstance(caught.value, Damaged)


def test_missing_files_and_receipts_are_named(rollouts: Path) -> None:
    first = parts(rollouts)[0]
    first.unlink()
    (rollouts / "shards" / "p0000004-0000008.json").unlink()
    (rollouts / "shards" / "p0000008-0000012.json").write_text("no JSON")
    found = damage(rollouts)
    assert found[first.name] == "missing"
    assert found["shards/p0000004-0000008.json"] == "missing: the receipt of a shard"
    assert "not a receipt" in found["shards/p0000008-0000012.json"]


def test_a_receipt_of_another_shard_is_named(rollouts: Path) -> None:
    receipts = rollouts / "shards"
    swap(receipts / "p0000000-0000004.json", receipts / "p0000004-0000008.json")
    assert "the receipt of shard p0000004-0000008" in only(rollouts).findings[0].what


def test_files_that_belong_to_nothing_are_reported(rollouts: Path) -> None:
    shutil.copy(parts(rollouts)[0], rollouts / "part-z.parquet")
    (rollouts / "notes.txt").write_text("mine")
    found = {each.file: each for each in only(rollouts).findings}
    assert found["part-z.parquet"].damage
    assert not found["notes.txt"].damage
    (rollouts / "part-z.parquet").unlink()
    assert only(rollouts).intact


def test_a_file_that_lies_about_its_content_is_found(rollouts: Path) -> None:
    part = parts(rollouts)[0]
    part.write_bytes(b"no Parquet")
    entry = {"sha256": hashlib.sha256(b"no Parquet").hexdigest(), "bytes": 10}
    edit(rollouts, lambda manifest: manifest["files"][0].update(entry))
    assert "not a Parquet file" in damage(rollouts)[part.name]


def test_damage_of_an_input_is_found_deep_and_its_lack_always(labels: Path, rollouts: Path) -> None:
    part = parts(rollouts)[0]
    flip(part, 100)
    assert only(labels).intact
    found = verify(str(labels), deep=True)
    assert [each.intact for each in found] == [True, True, False]
    part.unlink()
    assert "its input rollouts is damaged" in damage(labels)["manifest.json"]
    shutil.rmtree(rollouts)
    assert "its input rollouts is missing" in damage(labels)["manifest.json"]
    assert [each.intact for each in verify(str(labels), deep=True)] == [False, True, False]


def test_a_fetched_copy_has_neither_receipts_nor_inputs(labels: Path, tmp_path: Path) -> None:
    fetch(str(labels), str(tmp_path / "copy"))
    found = only(tmp_path / "copy")
    assert found.intact
    assert [each.what for each in found.findings] == ["a copy: its inputs are not looked for"]


def test_a_checkpoint_is_verified_by_its_files(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "qstar_core" / "reference" / "countdown-policy"
    assert only(source).intact
    shutil.copytree(source, tmp_path / "copy")
    flip(tmp_path / "copy" / "config.json", 5)
    assert list(damage(tmp_path / "copy")) == ["config.json"]


def test_on_s3_as_on_disk(out: Path, rollouts: Path, bucket: str) -> None:
    remote = open_store(f"{bucket}/out")
    for file in (each for each in out.rglob("*") if each.is_file()):
        remote.replace(file.relative_to(out).as_posix(), file.read_bytes())
    (key,) = (each.name for each in (out / "labels").iterdir())
    found = verify(f"{bucket}/out/labels/{key}", deep=True)
    assert [each.kind for each in found] == ["labels", "problems", "rollouts"]
    assert all(each.intact and not each.findings for each in found)
    one, other = (f"rollouts/{rollouts.name}/{part.name}" for part in parts(rollouts)[:2])
    first = remote.read(one)
    remote.replace(one, remote.read(other))
    remote.replace(other, first)
    uri = f"{bucket}/out/rollouts/{rollouts.name}"
    assert damage(uri)[parts(rollouts)[0].name].startswith("holds what part-p0000004")
    with pytest.raises(UserError, match="no complete data set"):
        verify(f"{bucket}/out/nothing")
