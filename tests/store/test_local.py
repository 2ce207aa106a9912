from __future__ import annotations

import os
from pathlib import Path

from qstar_core.store.local import LocalStore


def test_files_are_as_readable_as_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        store = LocalStore(str(tmp_path))
        private = store.scratch() / "model.safetensors"
        private.touch(0o600)
        store.put("model.safetensors", private)
        store.put_new("manifest.json", b"{}")
        store.replace("shards/model.json", b"{}")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in store.names()} == {0o640}
