"""A published labels data set with what it was made from, opened for an audit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from qstar_core.config import LabelsConfig
from qstar_core.errors import UserError
from qstar_core.mdp import Problem
from qstar_core.stage import kind_of
from qstar_core.store import dataset
from qstar_core.store.uri import is_remote, join

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A labels data set.

    Attributes:
        uri: its folder.
        manifest: of it.
        inputs: folders of the data sets it was made from that lie beside it, by stage name.
        missing: names of those that do not.
    """

    uri: str
    manifest: Manifest
    inputs: dict[str, str]
    missing: tuple[str, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What decided the labels: the fields of the section ``labels`` of the configuration.

        What the run key hashes goes before the configuration, because a round of fitted Q
        iteration may have another method than the run; what neither says has its default.
        """
        hashed = self.manifest["rows_from"]
        known = {name: hashed[name] for name in LabelsConfig.model_fields if name in hashed}
        return {**LabelsConfig().model_dump(), **self.manifest["config"]["labels"], **known}

    @property
    def domain(self) -> str:
        """The name of the domain of its problems."""
        return str(self.manifest["config"]["domain"]["name"])

    @property
    def imported(self) -> bool:
        """Whether the trajectories come from a file of the user."""
        return self.manifest["config"]["rollouts"].get("import_file") is not None

    @property
    def pools(self) -> dict[str, str]:
        """Folders of the pools, by stage name."""
        return {name: uri for name, uri in self.inputs.items() if kind_of(name) == "pool"}

    def files(self, stage: str = "labels") -> list[str]:
        """Local paths of the verified Parquet files of the labels or of an input.

        Raises:
            UserError: a file is missing or damaged.
        """
        return dataset.data_files(self.uri if stage == "labels" else self.inputs[stage])

    def manifest_of(self, stage: str) -> Manifest:
        """The manifest of an input."""
        return dataset.read_manifest(self.inputs[stage]) or {}

    def problems(self) -> pl.DataFrame:
        """The problems of both splits; ``split_asked`` tells which a problem is used in."""
        return pl.read_parquet(self.files("problems"))


def open_labels(uri: str) -> Source:
    """Opens a labels data set.

    Args:
        uri: its folder or its manifest, local or on S3.

    Raises:
        UserError: there is no complete data set, or it holds no labels.
    """
    folder = dataset.folder_of(uri)
    manifest = dataset.read_complete(folder)
    if manifest is None:
        raise UserError(
            f"no complete data set at {folder}",
            next_step="qstar label CONFIG makes labels and says where they lie",
        )
    out = _out(folder)
    found = {stage: _beside(out, stage, key) for stage, key in manifest["inputs"].items()}
    inputs = {stage: place for stage, place in found.items() if place is not None}
    if kind_of(manifest["kind"]) != "labels":
        labels = next((p for name, p in inputs.items() if kind_of(name) == "labels"), None)
        raise UserError(
            f"{folder} holds {manifest['kind']}, not labels",
            next_step=f"qstar audit {labels or join(out, 'labels/KEY')}",
        )
    missing = tuple(stage for stage, place in found.items() if place is None)
    return Source(folder, manifest, inputs, missing)


def _out(folder: str) -> str:
    """The output folder in which a data set lies as ``{stage}/{key}``."""
    if is_remote(folder):
        return folder.rsplit("/", 2)[0]
    return str(Path(folder).absolute().parents[1])


def _beside(out: str, stage: str, key: str) -> str | None:
    """The folder of an input, if it is there."""
    place = join(out, f"{kind_of(stage)}/{key}")
    return place if dataset.read_manifest(place) is not None else None


def as_problems(frame: pl.DataFrame) -> dict[str, Problem]:
    """The problems of a frame with domain, prompt, reference and split, by id."""
    rows = frame.select("problem_id", "domain", "prompt", "reference", "split").iter_rows()
    return {row[0]: Problem(*row[1:]) for row in rows}
