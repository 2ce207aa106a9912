"""Finding checkpoints, without importing torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.policies.licence import TELLING
from qstar_core.policies.weights import check_whole
from qstar_core.stage import fine_tuned
from qstar_core.store import cache, dataset
from qstar_core.store.uri import is_remote

REFERENCE = Path(__file__).parent.parent / "reference"
SHAPING = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "*.jinja",
)
"""Files of a checkpoint that can change a sample."""


TOKEN_CLASSIFIER = "ForTokenClassification"
KINDS = {  # field: architecture, its name, an example
    "policy.path": ("ForCausalLM", "causal LM", "reference:countdown-policy"),
    "qvm.path": (TOKEN_CLASSIFIER, "trained Q-value model", "reference:countdown-qvm"),
    "prm.path": (TOKEN_CLASSIFIER, "trained reward model", "reference:countdown-qvm"),
    "sft.base": ("ForCausalLM", "causal LM", "reference:countdown-policy"),
}


def resolve_checkpoint(path: str, field: str) -> Path:
    """The folder of a checkpoint.

    Args:
        path: a folder, ``reference:NAME`` for one that comes with qstar, ``s3://bucket/prefix``
            (copied into the cache), or a hub name ``owner/name`` (downloaded, or taken from the
            local Hugging Face cache).
        field: the configuration field it was named in, for the error.

    Raises:
        UserError: there is no such checkpoint, it has no safetensors weights or damaged ones, it
            is a policy where a Q-value model is wanted or the other way round, or that has several
            labels.
    """
    if fine_tuned(path):
        check_made(path, field)
        folder = dataset.local_folder(path.rstrip("/"))
    elif path.startswith("reference:"):
        folder = REFERENCE / path.removeprefix("reference:")
    elif is_remote(path):
        folder = _from_s3(path, field)
    elif Path(path).is_dir():
        folder = Path(path)
    elif _is_hub_name(path):
        folder = _from_hub(path, field)
    else:
        folder = Path(path)
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        known = ", ".join(sorted(f"reference:{p.name}" for p in REFERENCE.glob("*/")))
        raise UserError(
            f"{field}: no checkpoint with config.json and *.safetensors at {folder}",
            next_step=f"name a Hugging Face folder, a hub name, or one of: {known or '(none)'}",
        )
    _check_kind(folder, field)
    check_whole(folder, field)
    return folder


def check_made(path: str, field: str) -> None:
    """Makes sure that a fine-tuned policy, if a path names one, is published.

    Raises:
        UserError: it is not.
    """
    if fine_tuned(path) and dataset.read_complete(path.rstrip("/")) is None:
        raise UserError(
            f"{field}: there is no fine-tuned policy at {path} (yet)",
            next_step="qstar train-policy CONFIG, with the configuration that it is made from",
        )


def _check_kind(folder: Path, field: str) -> None:
    """A causal LM has no head for Q values, and would be given a random one; and the reverse."""
    if field not in KINDS:
        return
    kind, name, example = KINDS[field]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    found = config.get("architectures") or []
    if found and not any(kind in architecture for architecture in found):
        raise UserError(
            f"{field}: {folder} holds {', '.join(found)}, which is no {name}",
            next_step=f"name one, for example {example}",
        )
    labels = label_names(config)
    if kind == TOKEN_CLASSIFIER and len(labels) != 1:
        raise UserError(
            f"{field}: the head of {folder} has {len(labels)} labels ({', '.join(labels)}); "
            "which of them is the value is not known",
            next_step="keep the row of the wanted label in the head's weights, save it with "
            f"num_labels=1 and name that folder; an example is {example}",
        )


def label_names(config: Mapping[str, Any]) -> list[str]:
    """The labels that a config.json stands for; transformers leaves its default of two out."""
    labels = config.get("id2label")
    count = config.get("num_labels", 2)
    return list(labels.values()) if labels else [f"LABEL_{k}" for k in range(count)]


def _from_s3(uri: str, field: str, head: str = "config.json") -> Path:
    """A copy of a checkpoint's files, named by their names, sizes and entity tags.

    What says its licence is copied too, where it is there.
    """
    from qstar_core.store.s3 import S3Store

    store = S3Store(uri)
    store.check(field)
    listed = [found for found in store.objects() if "/" not in found.name]
    patterns = (*SHAPING, *TELLING)
    found = [o for o in listed if any(fnmatch(o.name, pattern) for pattern in patterns)]
    names = [o.name for o in found]
    if head not in names or not any(name.endswith(".safetensors") for name in names):
        raise UserError(
            f"{field}: no checkpoint with {head} and *.safetensors at {uri}",
            next_step=f"aws s3 ls {store.root}/   shows what is there",
        )
    folder = cache.folder("checkpoints") / content_id([[o.name, o.size, o.etag] for o in found])
    if all(_has_size(folder / o.name, o.size) for o in found):
        return folder
    cache.discard(folder)
    made = cache.scratch()
    for each in found:
        store.download(each.name, made / each.name)
    return cache.settle(made, folder)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _is_hub_name(path: str) -> bool:
    named = path.count("/") == 1 and not path.startswith((".", "/", "~"))
    return named and not path.startswith("reference:") and not Path(path).is_dir()


def on_hub_only(path: str) -> bool:
    """Whether a checkpoint is named by a hub and has not been fetched from it yet."""
    if fine_tuned(path) or is_remote(path) or not _is_hub_name(path):
        return False
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot_download(path, allow_patterns=[*SHAPING, *TELLING], local_files_only=True)
    except LocalEntryNotFoundError:
        return True
    return False


def _from_hub(name: str, field: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=[*SHAPING, *TELLING]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{field}: {name} is neither a folder nor reachable on the hub: {reason}",
            next_step=f"download it and set {field} to its folder",
        ) from error


def resolve_adapter(path: str) -> Path:
    """The folder of a LoRA adapter; one at ``s3://`` is copied into the cache.

    Raises:
        UserError: it has no adapter_config.json or no safetensors weights.
    """
    needed = ("adapter_config.json", "adapter_model.safetensors")
    folder = _from_s3(path, "policy.lora", needed[0]) if is_remote(path) else Path(path)
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"policy.lora: no {' and no '.join(missing)} in {folder}",
            next_step="name a folder that PEFT has saved with safetensors",
        )
    return folder
