"""Copies a published data set to a local folder, for people."""

from __future__ import annotations

import json
from pathlib import Path

from qstar_core.errors import UserError
from qstar_core.store import cache, open_store
from qstar_core.store.dataset import MANIFEST, read_complete
from qstar_core.store.local import LocalStore
from qstar_core.store.uri import is_remote


def fetch(uri: str, folder: str) -> list[str]:
    """Copies all files of a data set; the manifest comes last, so a broken copy can be repeated.

    Args:
        uri: folder or ``s3://bucket/prefix`` of a published data set.
        folder: local; files of an earlier copy that are intact are kept.

    Returns:
        The names of the files.

    Raises:
        UserError: there is no such data set, a file is not what the manifest's sha256 says, or the
            folder has another data set in it.
    """
    source, target = open_store(uri), LocalStore(folder)
    if is_remote(uri):
        source.check("DATASET")
    manifest = read_complete(uri)
    if manifest is None:
        raise UserError(f"no complete data set at {uri}", next_step=f"qstar show {uri}")
    target.check("FOLDER")
    content = source.read(MANIFEST)
    if target.exists(MANIFEST) and target.read(MANIFEST) != content:
        raise UserError(
            f"{folder} has another data set in it",
            safe="it was not touched",
            next_step=f"qstar fetch {uri} ANOTHER-FOLDER",
        )
    scratch = target.scratch()
    for entry in manifest["files"]:
        name = entry["name"]
        if cache.is_intact(Path(target.path(name)), entry):
            continue
        source.download(name, scratch / "file")
        if not cache.is_intact(scratch / "file", entry):
            raise UserError(
                f"{source.path(name)} is not what its sha256 says",
                safe=f"what was copied before it, below {folder}",
                next_step=f"qstar fetch {uri} {folder}   tries again",
            )
        target.put(name, scratch / "file")
    target.put_new(MANIFEST, content)
    target.end_writing()
    return [entry["name"] for entry in json.loads(content)["files"]]
