"""Manifests for people who doubt them: read with care, and found from each other by their keys.

A run puts a data set at ``{out}/{stage}/{key}``, so its inputs lie beside it at ``{out}/{input's
stage}/{input's key}``. A copy made elsewhere (``qstar fetch``) has nothing beside it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qstar_core.errors import UserError
from qstar_core.keys import ID_DIGITS
from qstar_core.stage import kind_of
from qstar_core.store import open_store
from qstar_core.store.dataset import MANIFEST
from qstar_core.store.dataset import folder_of as folder_of
from qstar_core.store.entries import is_plain
from qstar_core.store.uri import is_remote, join

Manifest = dict[str, Any]

PLACE = re.compile(rf"(?:(.*)/)?([^/]+)/([0-9a-f]{{{ID_DIGITS}}})")
"""Output folder, stage and key of a data set where a run puts it."""
SHOWN_ERRORS = 5


class Damaged(UserError):
    """A data set is not what was published; the exit code tells it from wrong arguments."""

    exit_code = 1


StageName = Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9._-]*$")]
"""Of an input: a part of a path, which must not lead out of the output folder."""
Key = Annotated[str, Field(pattern=f"^[0-9a-f]{{{ID_DIGITS}}}$")]


class _Form(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _File(_Form):
    name: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    rows: int | None = Field(default=None, ge=0)


class _Shard(_Form):
    shard: str
    figures: dict[str, Any]


class _Manifest(_Form):
    """What a stage's manifest has; a checkpoint's (``qstar pretrain``) has no key and no rows."""

    kind: str
    key: str | None = None
    rows: int | None = Field(default=None, ge=0)
    rows_from: dict[str, Any] = {}
    config: dict[str, Any] = {}
    inputs: dict[StageName, Key] = {}
    files: list[_File]
    columns: list[tuple[str, str]] = Field(default=[], alias="schema", strict=False)
    shards: list[_Shard] = []


def _without_manifest(uri: str) -> str:
    return uri.removesuffix(f"/{MANIFEST}").rstrip("/") or uri


def read(uri: str) -> Manifest:
    """The manifest of a data set, its form checked.

    Raises:
        UserError: there is none.
        Damaged: it is not a manifest.
    """
    store = open_store(uri)
    if is_remote(uri):
        store.check("DATASET")
    try:
        manifest = json.loads(store.read(MANIFEST))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"no complete data set at {uri}: it has no {MANIFEST}",
            next_step="qstar run CONFIG makes data sets and says where they lie",
        ) from error
    except (ValueError, RecursionError) as error:
        errors = [f"not valid JSON: {error}"]
    else:
        errors = form_errors(manifest)
        if not errors:
            return cast(Manifest, manifest)
    raise Damaged(
        f"{store.path(MANIFEST)} is damaged: " + "\n".join(errors),
        safe="nothing was changed",
        next_step="take a copy of the data set that is intact, or make it anew",
    )


def form_errors(manifest: Any) -> list[str]:
    """What is wrong with the form of a manifest, naming the field; empty for nothing."""
    try:
        form = _Manifest.model_validate_json(json.dumps(manifest))
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, each['loc'])) or 'manifest'}: {each['msg']}"
            for each in error.errors()[:SHOWN_ERRORS]
        ]
    names = [*(entry.name for entry in form.files), *(part.shard for part in form.shards)]
    return [f"{name} lies outside of the data set" for name in names if not is_plain(name)]


def place(uri: str) -> tuple[str, str, str] | None:
    """Output folder, stage and key of a data set where a run puts it; None for a copy elsewhere."""
    found = PLACE.fullmatch(uri if is_remote(uri) else os.path.normpath(uri))
    if found is None:
        return None
    out, stage, key = found.groups()
    return ("." if out is None else out or "/"), stage, key


def inputs(uri: str, manifest: Manifest) -> dict[str, str]:
    """Where the inputs of a data set lie, by stage; empty for a copy, which has none beside it."""
    where = place(uri)
    if where is None:
        return {}
    found = manifest.get("inputs", {})
    return {name: join(where[0], f"{kind_of(name)}/{key}") for name, key in found.items()}


def relatives(uri: str, manifest: Manifest) -> list[str]:
    """Other published data sets of the same kind from the same rollouts, the newest first.

    Args:
        uri: folder of a data set with rollouts among its inputs.
        manifest: of it.
    """
    where = place(uri)
    source = manifest.get("inputs", {}).get("rollouts")
    if where is None or source is None:
        return []
    out, kind, key = where
    names = open_store(join(out, kind)).names()
    keys = {name.partition("/")[0] for name in names if name.endswith(f"/{MANIFEST}")} - {key}
    found = []
    for other in (join(out, f"{kind}/{each}") for each in sorted(keys)):
        with suppress(UserError):
            its = read(other)
            if its.get("inputs", {}).get("rollouts") == source:
                found.append((str(its.get("created", "")), other))
    return [other for _, other in sorted(found, reverse=True)]


def mentioned(config: Any) -> Iterator[str]:
    """The data sets that a configuration names by their folders, such as a ``qvm.path``."""
    if isinstance(config, dict):
        for value in config.values():
            yield from mentioned(value)
    elif isinstance(config, list):
        for value in config:
            yield from mentioned(value)
    elif isinstance(config, str) and PLACE.fullmatch(_without_manifest(config)):
        yield _without_manifest(config)


def flat(rows: Any, name: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names; a list of single values is one value."""
    if isinstance(rows, dict) and rows:
        parts = [(f"{name}.{key}" if name else str(key), value) for key, value in rows.items()]
    elif isinstance(rows, list) and any(isinstance(value, dict | list) for value in rows):
        parts = [(f"{name}.{number}", value) for number, value in enumerate(rows)]
    else:
        return {name: rows}
    return {field: value for part, inner in parts for field, value in flat(inner, part).items()}


def differences(then: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """Fields whose values differ, with both; None where one side has no such field."""
    before, after = flat(then), flat(now)
    return [
        (field, before.get(field), after.get(field))
        for field in dict.fromkeys([*before, *after])
        if before.get(field) != after.get(field) or (field in before) != (field in after)
    ]
