from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from qstar_core.training import checkpoints


def made(folder: Path, number: int, *needs: str, **notes: object) -> Path:
    place = folder / f"checkpoint-{number}"
    place.mkdir(parents=True)
    (place / "weights").write_bytes(b"%d" % number)
    checkpoints.seal(place, notes, needs)
    return place


def test_the_newest_whole_one_is_taken(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path / "nowhere") == (None, {}, [])
    made(tmp_path, 9)
    last = made(tmp_path, 10, losses=[0.5])
    (tmp_path / "checkpoint-notes").mkdir()
    place, notes, remarks = checkpoints.newest(tmp_path)
    assert place == last and notes == {"losses": [0.5]} and not remarks


@pytest.mark.parametrize("harm", ["unsealed", "changed", "missing", "half a seal", "a list"])
def test_a_broken_one_is_removed_with_a_remark(tmp_path: Path, harm: str) -> None:
    before, last = made(tmp_path, 9), made(tmp_path, 10)
    if harm == "unsealed":
        (last / checkpoints.SEAL).unlink()
    elif harm == "changed":
        (last / "weights").write_bytes(b"11")
    elif harm == "missing":
        (last / "weights").unlink()
    else:
        text = "[]" if harm == "a list" else '{"files": '
        (last / checkpoints.SEAL).write_text(text, encoding="utf-8")
    place, _, remarks = checkpoints.newest(tmp_path)
    assert place == before and not last.exists()
    assert len(remarks) == 1 and "update 10" in remarks[0]


@pytest.mark.parametrize("package", ["torch", "transformers", "accelerate", "trl", "qstar"])
def test_other_versions_begin_anew(tmp_path: Path, package: str) -> None:
    place = made(tmp_path, 3)
    seal = json.loads((place / checkpoints.SEAL).read_text(encoding="utf-8"))
    assert seal["versions"][package]
    seal["versions"][package] = "0.0.1"
    (place / checkpoints.SEAL).write_text(json.dumps(seal), encoding="utf-8")
    found, _, remarks = checkpoints.newest(tmp_path)
    assert found is None and "other versions" in remarks[0]


def test_one_whose_best_weights_are_gone_is_left_out(tmp_path: Path) -> None:
    best = tmp_path / checkpoints.BEST.format(2)
    best.write_bytes(b"weights")
    made(tmp_path, 3, best.name)
    assert checkpoints.newest(tmp_path)[0] is not None
    best.unlink()
    assert "without the best" in checkpoints.newest(tmp_path)[2][0]


def test_one_whose_best_weights_are_damaged_is_left_out(tmp_path: Path) -> None:
    best = tmp_path / checkpoints.BEST.format(2)
    best.write_bytes(b"weights")
    made(tmp_path, 3, best.name)
    best.write_bytes(b"weightz")
    assert "without the best" in checkpoints.newest(tmp_path)[2][0]


def test_best_weights_stay_as_long_as_a_checkpoint_needs_them(tmp_path: Path) -> None:
    names = [checkpoints.BEST.format(number) for number in (1, 2, 3)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    made(tmp_path, 2, names[1])
    checkpoints.sweep(tmp_path, [names[2]])
    assert sorted(f.name for f in tmp_path.glob("best-*")) == names[1:]
    assert checkpoints.newest(tmp_path)[0] is not None


def test_one_whose_best_checkpoint_is_damaged_is_left_out_with_it(tmp_path: Path) -> None:
    first = made(tmp_path, 1, "checkpoint-1")
    best = made(tmp_path, 2, "checkpoint-2")
    made(tmp_path, 3, "checkpoint-2")
    assert checkpoints.newest(tmp_path)[0] == tmp_path / "checkpoint-3"
    (best / "weights").write_bytes(b"x")
    place, _, remarks = checkpoints.newest(tmp_path)
    assert place == first and ["without" in remarks[0], "damaged" in remarks[1]] == [True, True]


def test_what_is_said_of_where_a_training_began() -> None:
    assert checkpoints.figures(None, []) == {}
    found = checkpoints.figures(Path("checkpoint-12"), ["one was left out"])
    assert found == {"resumed_from": 12, "remarks": ["one was left out"]}


def test_weights_that_are_trained_come_back(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 3))
    model[1].requires_grad_(False)
    before = [p.clone() for p in model.parameters()]
    checkpoints.save_weights(model, tmp_path / "a" / "w.safetensors")
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    checkpoints.load_weights(model, tmp_path / "a" / "w.safetensors")
    same = [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert same == [True, True, False, False]
    assert [f.name for f in (tmp_path / "a").iterdir()] == ["w.safetensors"]
