from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import pytest

from qstar_core.errors import StorageUnreachable, UserError
from qstar_core.provenance import garbage
from qstar_core.provenance.garbage import Found, leaf_of, planned, remove, survey
from qstar_core.provenance.lineage import lineage
from qstar_core.store import open_store
from qstar_core.store.lock import hold, is_held

from .runs import config_of, edit, make, publish

LEFT = "rollouts/" + "0" * 24


def states(found: list[Found]) -> dict[str, str]:
    return {each.leaf: each.state for each in found}


@pytest.fixture
def two(out: Path) -> dict[str, str]:
    """The run with labels of two methods; by gamma, stage and key of the labels."""
    for gamma in (1.0, 0.5):
        make(config_of(str(out), labels={"gamma": gamma}))
    return {
        str(gamma): f"labels/{plan['labels'].key}"
        for gamma in (1.0, 0.5)
        for plan in [make(config_of(str(out), labels={"gamma": gamma}))]
    }


def left_behind(out: Path, leaf: str = LEFT) -> Path:
    folder = out / leaf
    scratch = folder / ".writing" / "tmp"
    scratch.mkdir(parents=True)
    (scratch / "half").write_bytes(b"12345")
    (folder / "part.parquet").write_bytes(b"123")
    return folder


def test_where_nothing_is_named_only_leftovers_go(out: Path) -> None:
    folder = left_behind(out)
    (out / "pretrain").mkdir()
    (out / "pretrain" / "config.json").write_text("{}")
    found = survey(str(out), None)
    assert states(found).pop(LEFT) == "leftover"
    assert {each.state for each in found if each.leaf != LEFT} == {"needed"}
    told: list[Found] = []
    assert remove(found, (), told.append) == (1, 8)
    assert [each.leaf for each in told] == [LEFT]
    assert not folder.exists()
    assert (out / "pretrain" / "config.json").exists()
    assert len(survey(str(out), None)) == 3


@pytest.mark.parametrize("named", [None, set[str]()])
def test_folders_of_the_user_stay_whatever_their_names(out: Path, named: set[str] | None) -> None:
    photo = out / "photos" / "507f1f77bcf86cd799439011" / "a.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"me")
    found = survey(str(out), named)
    assert not [each for each in found if each.leaf.startswith("photos")]
    remove(found, named or (), lambda each: None)
    assert photo.exists()


def test_what_no_named_run_plans_goes_with_its_size(out: Path, two: dict[str, str]) -> None:
    named = planned(config_of("elsewhere"), str(out))
    found = survey(str(out), named)
    (needless,) = [each for each in found if each.state == "unneeded"]
    assert needless.leaf == two["0.5"]
    assert (needless.run, needless.bytes) == ("small", folder_bytes(out / needless.leaf))
    assert remove(found, named, lambda each: None) == (1, needless.bytes)
    assert not (out / two["0.5"]).exists()
    assert lineage(str(out / two["1.0"])).complete
    assert states(survey(str(out), named)) == {
        each.leaf: "needed" for each in found if each.leaf != two["0.5"]
    }


def folder_bytes(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def test_a_named_data_set_keeps_what_it_was_made_from(out: Path, two: dict[str, str]) -> None:
    for leaf in two.values():
        named = leaf_of(str(out / leaf))
        assert named == leaf
        found = states(survey(str(out), {leaf}))
        assert [name for name, state in found.items() if state == "unneeded"] == [
            other for other in two.values() if other != leaf
        ]
    (problems,) = (out / "problems").iterdir()
    found = states(survey(str(out), {f"problems/{problems.name}"}))
    assert sum(state == "needed" for state in found.values()) == 1
    assert leaf_of("some/copy") is None


def test_a_model_that_a_named_run_takes_from_a_data_set_is_needed(out: Path) -> None:
    model = publish(str(out), [], "qvm")
    config = config_of(str(out), qvm={"path": model})
    edit(
        next((out / "labels").iterdir()), lambda m: m.update(config=config.model_dump(mode="json"))
    )
    leaf = leaf_of(str(next((out / "labels").iterdir())))
    assert leaf is not None
    assert states(survey(str(out), {leaf}))[str(leaf_of(model))] == "needed"


def test_comparisons_and_trained_models_of_a_run_are_planned(out: Path) -> None:
    stages = {leaf.partition("/")[0] for leaf in planned(config_of("x"), str(out))}
    assert {"problems", "rollouts", "labels", "qvm", "evaluation", "report"} <= stages
    assert {"comparison", "comparison_report"} <= stages


def test_what_a_named_run_has_begun_stays(out: Path) -> None:
    named = planned(config_of("x"), str(out))
    leaf = next(each for each in named if each.startswith("qvm/"))
    left_behind(out, leaf)
    assert states(survey(str(out), named))[leaf] == "unfinished"
    assert states(survey(str(out), None))[leaf] == "leftover"


def test_what_is_being_made_stays_and_so_does_what_it_may_read(out: Path) -> None:
    folder = left_behind(out)
    lock = open_store(str(folder)).lock_path()
    held = hold(lock)
    assert held is not None
    try:
        found = survey(str(out), set())
        (making,) = [each for each in found if each.state == "being made"]
        assert making.leaf == LEFT
        assert f"pid {os.getpid()}" in making.said
        with pytest.raises(UserError, match="what that run reads is not known"):
            remove(found, (), lambda each: None)
        assert remove(survey(str(out), None), (), lambda each: None) == (0, 0)
        assert remove(found, {LEFT}, lambda each: None)[0] == 3
        assert folder.exists()
    finally:
        os.close(held)
    assert not is_held(lock)
    assert states(survey(str(out), None)) == {LEFT: "leftover"}


def test_a_run_that_begins_after_the_listing_is_not_disturbed(out: Path) -> None:
    folder = left_behind(out)
    found = survey(str(out), None)
    held = hold(open_store(str(folder)).lock_path())
    assert held is not None
    assert remove(found, (), lambda each: None) == (0, 0)
    os.close(held)
    assert folder.exists()


def test_a_data_set_goes_manifest_first(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr("qstar_core.store.local.LocalStore.remove", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        remove(survey(str(out), set()), (), lambda each: None)
    monkeypatch.undo()
    assert "leftover" in states(survey(str(out), None)).values()


def test_a_damaged_manifest_is_said(out: Path, labels: Path) -> None:
    (labels / "manifest.json").write_text("{")
    (found,) = [each for each in survey(str(out), set()) if each.said]
    assert found.state == "unneeded"
    assert "damaged" in found.said
    needed = survey(str(out), {f"labels/{labels.name}"})
    with pytest.raises(UserError, match="needed, but its manifest is damaged"):
        remove(needed, (), lambda each: None)
    assert len(survey(str(out), None)) == 3


def test_storage_that_does_not_answer_is_no_damage(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(uri: str) -> None:
        raise StorageUnreachable("no answer")

    monkeypatch.setattr(garbage, "read", silent)
    with pytest.raises(StorageUnreachable):
        survey(str(out), set())


def test_links_are_left_alone(out: Path, tmp_path: Path) -> None:
    shutil.move(out / "labels", tmp_path / "labels")
    (out / "labels").symlink_to(tmp_path / "labels")
    assert not [each for each in survey(str(out), set()) if each.leaf.startswith("labels")]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        survey(str(tmp_path / "nothing"), None)


def test_on_s3(bucket: str) -> None:
    out = f"{bucket}/night"
    plan = make(config_of(out))
    other = make(config_of(out, labels={"gamma": 0.5}))["labels"]
    store = open_store(out)
    here = f"pid 1 on {platform.node()} since then\n".encode()
    for leaf, mark in ((LEFT, here), (LEFT.replace("0", "1"), b"pid 1 on moon since then\n")):
        store.replace(f"{leaf}/.writing/run", mark)
        store.replace(f"{leaf}/part.parquet", b"123")
    named = planned(config_of(out), out)
    found = survey(out, named)
    assert states(found) == {
        **{f"{name}/{plan[name].key}": "needed" for name in ("problems", "rollouts", "labels")},
        f"labels/{other.key}": "unneeded",
        LEFT: "leftover",
        LEFT.replace("0", "1"): "being made",
    }
    with pytest.raises(UserError, match=r"perhaps, by pid 1 on moon"):
        remove(found, named, lambda each: None)
    store.delete(f"{LEFT.replace('0', '1')}/.writing/run")
    assert remove(survey(out, named), named, lambda each: None)[0] == 3
    assert not store.everything().keys() & {f"{LEFT}/.writing/run", f"{LEFT}/part.parquet"}
    assert open_store(other.uri).everything() == {}
    assert lineage(plan["labels"].uri).complete
    assert garbage.survey(out, None)
