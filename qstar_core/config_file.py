"""Reads a configuration from its YAML file and the ``--set`` overrides; mistakes name the field."""

from __future__ import annotations

import json
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from qstar_core.config import RunConfig, Section
from qstar_core.errors import UserError
from qstar_core.partitions import fill
from qstar_core.store import open_store
from qstar_core.store.uri import is_remote, leaf

MANIFEST = "manifest.json"
NOT_YAML = (yaml.YAMLError, ValueError, AttributeError, RecursionError)
"""What PyYAML raises; the last three for scalars it cannot build and for too deep nesting."""


def load_config(
    path: Path | str,
    overrides: list[str] | None = None,
    out: str | None = None,
    day: date | None = None,
) -> RunConfig:
    """Reads a YAML configuration, local or on S3, and applies ``path.to.field=value`` overrides.

    A data set's ``manifest.json`` is a configuration too: that of the run which made it.

    Args:
        path: of the file.
        overrides: in this order.
        out: overrides the field ``out``, last.
        day: the partition, in the place of ``{date}``; see `qstar_core.partitions`.

    Raises:
        UserError: missing, empty or malformed file, unknown field, wrong type or value; names the
            field. Or ``{date}`` without a partition.
    """
    tree = _parse(_read(str(path)), str(path), f"mend {path} and run again")
    if tree is None:
        raise UserError(
            f"{path} sets no field: it is empty, or comments are all that it holds",
            next_step="write what differs from the defaults into it, one field at least, such as "
            "'name: mine'; deployments/demo.yaml is an example; {} is a run of defaults alone",
        )
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a mapping of fields is expected", next_step=f"mend {path}")
    is_manifest = leaf(str(path)) == MANIFEST and isinstance(tree.get("config"), dict)
    if is_manifest:
        tree = tree["config"]
    _apply(tree, overrides, out)
    tree = tree if is_manifest else fill(tree, day)
    try:
        if is_manifest:  # JSON has no integer keys; its reader knows that
            return RunConfig.model_validate_json(json.dumps(tree))
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise UserError(
            _explain(error, str(path)),
            next_step=f"mend the field in {path} (or its --set) and run again",
        ) from error


def default_config(overrides: list[str] | None = None, out: str | None = None) -> RunConfig:
    """The configuration without a file: all defaults but for the overrides.

    Raises:
        UserError: as `load_config`.
    """
    tree: dict[str, Any] = {}
    _apply(tree, overrides, out)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        step = "mend the option or its --set and run again"
        raise UserError(_explain(error, "options"), next_step=step) from error


def _apply(tree: dict[str, Any], overrides: list[str] | None, out: str | None) -> None:
    for override in overrides or []:
        _override(tree, override)
    if out is not None:
        tree["out"] = out


def _read(path: str) -> bytes:
    folder, _, name = path.rpartition("/")
    try:
        if is_remote(path):
            store = open_store(folder)
            store.check("CONFIG")
            return store.read(name)
        if Path(path).is_file():
            return Path(path).read_bytes()
    except FileNotFoundError:
        pass
    raise UserError(f"no such configuration: {path}", next_step="qstar run deployments/demo.yaml")


def _parse(text: str | bytes, source: str, next_step: str) -> Any:
    try:
        return yaml.safe_load(text)
    except NOT_YAML as error:
        raise UserError(f"{source} is not valid YAML: {error}", next_step=next_step) from error


def _override(tree: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise UserError(
            f"--set {override!r} is not of the form path.to.field=value",
            next_step="for example --set rollouts.samples=8",
        )
    *parents, leaf = name.split(".")
    node: Any = tree
    for part in parents:
        node = node[_index(part, node, name)] if isinstance(node, list) else _child(node, part)
    value = _parse(text, f"--set {name}: {text!r}", f"quote it: --set \"{name}='...'\"")
    if isinstance(node, list):
        node[_index(leaf, node, name)] = value
    elif isinstance(node, dict):
        node[leaf] = value
    else:
        raise UserError(f"--set {name}: {parents[-1]} has no fields", next_step="qstar run --help")


def _child(node: Any, part: str) -> Any:
    return node.setdefault(part, {}) if isinstance(node, dict) else node


def _index(part: str, node: list[Any], name: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise UserError(
            f"--set {name}: {part!r} is not an index below {len(node)}",
            next_step="for example --set evaluation.methods.2.k=4",
        )
    return int(part)


def _explain(error: ValidationError, source: str) -> str:
    lines = []
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        field = ".".join(str(part) for part in problem["loc"])
        if not field:  # of several sections; the message names the fields
            lines.append(f"{source}: {message}")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"{source}: unknown field {field}{_likely(problem['loc'])}")
        elif isinstance(problem["input"], dict | list | Section):  # would print a whole section
            lines.append(f"{source}: {field}: {message}")
        else:
            lines.append(f"{source}: {field}: {message} (got {problem['input']!r})")
    return "\n".join(lines)


def _likely(place: tuple[int | str, ...]) -> str:
    """What may have been meant by an unknown field, or the fields that there are."""
    section: Any = RunConfig
    for part in place[:-1]:
        if isinstance(part, str):
            section = _section(section.model_fields[part].annotation)
    names = list(section.model_fields)
    close = get_close_matches(str(place[-1]), names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"


def _section(annotation: Any) -> Any:
    """The section behind an annotation such as ``list[SearchConfig] | None``; None without one."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section(part))), None)
