from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core import partitions
from qstar_core.config_file import load_config
from qstar_core.errors import UserError
from qstar_core.partitions import Record, fill

DAY = date(2026, 11, 28)


def manifest(key: str, kind: str = "labels") -> dict[str, object]:
    return {"kind": kind, "key": key, "uri": f"out/{kind}/{key}", "rows": 3, "figures": {}}


def record(day: date = DAY, key: str = "a" * 24, **changes: object) -> Record:
    stages = {"labels": partitions.stage_entry(manifest(key), made=True, seconds=1.234)}
    return Record("mine", "nightly", day, stages, **changes)  # type: ignore[arg-type]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path, new = partitions.put(str(tmp_path), record())
    assert new
    assert path == str(tmp_path / f"runs/mine/2026-11-28/nightly-{record().key}.json")
    [found] = partitions.records(str(tmp_path), "mine")
    assert found.to_dict() == json.loads(Path(path).read_text())
    assert found.stages["labels"] == {
        "kind": "labels",
        "key": "a" * 24,
        "uri": f"out/labels/{'a' * 24}",
        "rows": 3,
        "made": True,
        "seconds": 1.2,
    }


def test_the_same_night_again_writes_nothing_and_late_data_stands_beside_it(tmp_path: Path) -> None:
    out = str(tmp_path)
    first, _ = partitions.put(out, record(created="2026-11-28T02:00:00+00:00"))
    before = Path(first).read_bytes()
    assert partitions.put(out, record(created="2026-11-29T02:00:00+00:00")) == (first, False)
    late, new = partitions.put(out, record(key="b" * 24, created="2026-11-30T02:00:00+00:00"))
    assert new and late != first
    assert Path(first).read_bytes() == before
    found = partitions.records(out, "mine", "nightly")
    assert [each.stages["labels"]["key"][0] for each in found] == ["a", "b"]
    where = out, "mine", "nightly"
    assert partitions.latest(*where, "labels", until=DAY) == found[-1].stages["labels"]
    assert partitions.latest(*where, "qvm", until=DAY) is None


def test_a_night_that_is_made_up_for_knows_no_later_one(tmp_path: Path) -> None:
    out, next_day = str(tmp_path), DAY + timedelta(days=1)
    partitions.put(out, record())
    partitions.put(out, record(next_day, key="b" * 24))
    keys = [
        (found := partitions.latest(out, "mine", "nightly", "labels", until=day))
        and found["key"][0]
        for day in (DAY - timedelta(days=1), DAY, next_day)
    ]
    assert keys == [None, "a", "b"]


@pytest.mark.parametrize(
    "text", ["", '{"name": "mine"}', "[]", "7", '{"stages": []}', '{"stages": {"labels": {}}}']
)
def test_a_damaged_record_costs_no_other_night(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    out, next_day = str(tmp_path), DAY + timedelta(days=1)
    partitions.put(out, record())
    path, _ = partitions.put(out, record(next_day, key="b" * 24))
    Path(path).write_text(text)
    found = partitions.latest(out, "mine", "nightly", "labels", until=next_day)
    assert found is not None and found["key"] == "a" * 24
    assert "is no record of a run" in caplog.text and path in caplog.text
    assert partitions.missing(out, "mine", "nightly", DAY, DAY) == []  # that of DAY alone is read
    with pytest.raises(UserError, match="is no record of a run"):
        partitions.missing(out, "mine", "nightly", DAY, next_day)


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_missing_dates_are_those_without_a_whole_record(whole: set[int], partial: set[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as out:
        for number in whole:
            partitions.put(out, record(DAY + timedelta(days=number)))
        for number in partial:
            partitions.put(out, record(DAY + timedelta(days=number), whole=False, note="spent"))
        found = partitions.missing(out, "mine", "nightly", DAY, DAY + timedelta(days=9))
        assert [(day - DAY).days for day in found] == sorted(set(range(10)) - whole)
        assert not partitions.missing(out, "mine", "nightly", DAY, DAY) or 0 not in whole


def test_dates_in_the_wrong_order_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is after --to"):
        partitions.missing(str(tmp_path), "mine", "nightly", DAY, DAY - timedelta(days=1))


def test_a_file_that_is_no_record_is_named_and_others_are_not_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "mine" / "2026-11-28"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    assert partitions.records(str(tmp_path), "mine") == []
    (folder / f"nightly-{'a' * 24}.json").write_text('{"name": "mine"}')
    with pytest.raises(UserError, match="is no record of a run"):
        partitions.records(str(tmp_path), "mine")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text("ab{}"), st.lists))
def test_without_the_placeholder_nothing_changes(tree: object) -> None:
    if "{date}" not in json.dumps(tree):
        assert fill(tree, DAY) == tree == fill(tree, None)


def test_the_date_gets_into_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text('domain: {train_file: "problems/{date}.jsonl"}\npools: [{kind: states}]\n')
    config = load_config(file, ["name=n-{date}"], day=DAY)
    assert config.domain.train_file == "problems/2026-11-28.jsonl"
    assert config.name == "n-2026-11-28"
    with pytest.raises(UserError, match="stands for the date") as caught:
        load_config(file)
    assert "qstar run CONFIG --date" in caught.value.next_step
