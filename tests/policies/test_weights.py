from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from qstar_core.errors import UserError
from qstar_core.policies.checkpoint import resolve_checkpoint
from tests.models import tiny_policy, tiny_qvm

FIELDS = {"policy.path": tiny_policy, "qvm.init": tiny_policy, "qvm.path": tiny_qvm}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_weights_that_were_cut_short_are_refused(tmp_path: Path, field: str, kept: int) -> None:
    folder = copytree(FIELDS[field](), tmp_path / "copy")
    assert resolve_checkpoint(str(folder), field) == folder
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match=f"{field}: .*model.safetensors is damaged") as caught:
        resolve_checkpoint(str(folder), field)
    assert field in caught.value.next_step


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = copytree(tiny_policy(), tmp_path / "copy")
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n" * 9)
    with pytest.raises(UserError, match="was not copied whole"):
        resolve_checkpoint(str(folder), "policy.path")
