"""What a data set was made from: its inputs and theirs, back to the problems.

Manifests name their inputs by key, and inputs lie beside the data set. A trained model that a
configuration names by the folder of its data set (``qvm.path``) is followed too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qstar_core.errors import UserError
from qstar_core.provenance.manifests import (
    Manifest,
    flat,
    folder_of,
    inputs,
    mentioned,
    place,
    read,
)
from qstar_core.store.dataset import read_complete

COMPLETE = "complete"
MISSING = "missing"


@dataclass(frozen=True)
class Node:
    """One data set of a lineage.

    Attributes:
        name: under which the data set above reads it; its kind at the top.
        uri: where it lies, or should.
        key: its run key; empty for a checkpoint.
        state: `COMPLETE`, `MISSING`, or what is damaged.
        rows: how many.
        created: when it was published.
        decided: the fields that its key was made from, by dotted name, without those of its inputs.
        inputs: what it was made from.
    """

    name: str
    uri: str
    key: str
    state: str
    rows: int = 0
    created: str = ""
    decided: dict[str, Any] = field(default_factory=dict)
    inputs: list[Node] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether it and all it was made from is there."""
        return self.state == COMPLETE and all(node.complete for node in self.inputs)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**parts, "inputs": [node.to_dict() for node in self.inputs]}


def lineage(uri: str) -> Node:
    """Follows the keys of the inputs of a data set.

    Args:
        uri: folder or ``s3://bucket/prefix`` of the data set, or its manifest.

    Raises:
        UserError: there is no data set.
        Damaged: its manifest cannot be read.
    """
    folder = folder_of(uri)
    kind = str(read(folder)["kind"])
    return _node(kind, folder, {})


def _node(name: str, folder: str, known: dict[str, Node]) -> Node:
    if folder not in known:
        known[folder] = _read(name, folder, known)
    return known[folder]


def _read(name: str, folder: str, known: dict[str, Node]) -> Node:
    where = place(folder)
    key = where[2] if where is not None else ""
    known[folder] = Node(name, folder, key, "an input of itself")  # a forged circle ends here
    try:
        there = read_complete(folder) is not None
        if not there:
            return Node(name, folder, key, MISSING)
        manifest = read(folder)
        state = COMPLETE
    except (UserError, ValueError, KeyError, AttributeError, TypeError) as error:
        try:
            manifest = read(folder)
        except UserError as worse:
            return Node(name, folder, key, worse.what)
        state = error.what if isinstance(error, UserError) else str(error)
    below = inputs(folder, manifest)
    found = [_node(stage, place_, known) for stage, place_ in below.items()]
    found += [
        _node("model", given, known)
        for given in dict.fromkeys(mentioned(manifest.get("config", {})))
        if given not in below.values() and given != folder
    ]
    return Node(
        name,
        folder,
        manifest.get("key") or "",
        state,
        manifest.get("rows") or 0,
        str(manifest.get("created", "")),
        _decided(manifest),
        found,
    )


def _decided(manifest: Manifest) -> dict[str, Any]:
    """The fields that a key was made from, without keys and fields of the inputs."""
    read_from = manifest.get("inputs", {})
    keys = set(read_from.values())
    return {
        name: value
        for name, value in flat(manifest.get("rows_from", {})).items()
        if name not in ("", "stage")
        and name.partition(".")[0] not in read_from
        and not keys.issuperset(value if isinstance(value, list) and value else [str(value)])
    }
