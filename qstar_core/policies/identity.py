"""What names a model in the keys of data sets, without importing torch.

A checkpoint goes by its files and the precision it is run in; a policy also by its engine; one that
is yet to be made, by the key of its data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from qstar_core.config import PolicyConfig, RunConfig
from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.policies.checkpoint import SHAPING, resolve_adapter, resolve_checkpoint
from qstar_core.stage import fine_tuned
from qstar_core.store import dataset
from qstar_core.store.cache import sha256_of

BY_KEY = "sft:"
"""What the identity of a fine-tuned policy begins with: it goes by the key of its data set, which
is known before the policy is there."""


def fingerprint(folder: Path, dtype: str) -> str:
    """Hash of weights, configuration, tokenizer and numeric precision.

    Two folders with the same fingerprint give the same samples for the same requests.
    """
    files = sorted({file for pattern in SHAPING for file in folder.glob(pattern)})
    stamps = tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    return _fingerprint(stamps, dtype)


@lru_cache(maxsize=64)
def _fingerprint(stamps: tuple[tuple[str, int, int], ...], dtype: str) -> str:
    return content_id("model", [[Path(f).name, sha256_of(Path(f))] for f, _, _ in stamps], dtype)


def identity(policy: PolicyConfig) -> str:
    """The fingerprint that the configured policy will have.

    A fine-tuned policy goes by the key of its data set instead, whether it is there or not.

    Raises:
        UserError: its checkpoint, its adapter or its script is missing.
    """
    if policy.backend == "server":
        from qstar_core.policies.served import served_fingerprint

        return served_fingerprint(policy)
    if policy.backend == "scripted":
        from qstar_core.policies import script

        return script.identity(policy.path)
    lora = resolve_adapter(policy.lora) if policy.lora is not None else None
    how = _how(policy.dtype, policy.backend, policy.chat, lora, policy.engine)
    if key := fine_tuned(policy.path):
        return f"{BY_KEY}{key}:{policy.dtype}" + (f":{content_id(how)}" if how else "")
    return _run(resolve_checkpoint(policy.path, "policy.path"), policy.dtype, how)


def policy_fingerprint(
    folder: Path,
    dtype: str,
    *,
    backend: str = "transformers",
    chat: bool = False,
    lora: Path | None = None,
    engine: Mapping[str, Any] | None = None,
) -> str:
    """The fingerprint of a checkpoint together with how it is run.

    A plain transformers policy has that of its checkpoint.

    Args:
        folder: the checkpoint.
        dtype: numeric precision.
        backend: the engine's name.
        chat: whether prompts go through the chat template.
        lora: folder of an adapter put on the weights.
        engine: arguments of the engine.
    """
    return _run(folder, dtype, _how(dtype, backend, chat, lora, engine))


def _run(folder: Path, dtype: str, how: dict[str, Any]) -> str:
    """The fingerprint of a checkpoint that is run in some way."""
    plain = fingerprint(folder, dtype)
    return content_id("policy", plain, how) if how else plain


def _how(
    dtype: str, backend: str, chat: bool, lora: Path | None, engine: Mapping[str, Any] | None
) -> dict[str, Any]:
    """How a checkpoint is run where that is not the plain way; see `policy_fingerprint`."""
    how: dict[str, Any] = {"backend": backend} if backend != "transformers" else {}
    if chat:
        how["chat"] = True
    if lora is not None:
        how["lora"] = fingerprint(lora, dtype)
    if engine:
        how["engine"] = dict(engine)
    return how


def backbone(config: RunConfig, model: Literal["qvm", "prm"] = "qvm") -> tuple[Path, str]:
    """Folder and identity of the causal LM that a model starts from: its init, or the policy."""
    init, field = getattr(config, model).init, f"{model}.init"
    if init is None:
        _has_weights(config, field)
        where = field if config.policy.without_weights else "policy.path"
        return _start(config.policy.path, where, config.policy.dtype)
    return _start(init, field, "float32")


def sft_base(config: RunConfig) -> tuple[Path, str]:
    """Folder and identity of the causal LM that is fine-tuned: sft.base, or the policy."""
    if config.sft.base is None and not config.policy.without_weights:
        return _start(config.policy.path, "policy.path", "float32")
    if config.sft.base is None:
        _has_weights(config, "sft.base")
    return _start(config.sft.base or config.policy.path, "sft.base", "float32")


def _has_weights(config: RunConfig, field: str) -> None:
    """Makes sure that the policy is a model, which another one can start from.

    Raises:
        UserError: it replays a file.
    """
    if config.policy.backend == "scripted":
        raise UserError(
            f"{field}: a scripted policy has no weights that the model could start from",
            next_step=f"name a causal LM with room for its texts: --set {field}=FOLDER   "
            "(docs/reproduce-papers.md, Rehearsal, makes a small one)",
        )


def _start(path: str, field: str, dtype: str) -> tuple[Path, str]:
    """Folder and fingerprint of what a training starts from.

    A fine-tuned policy goes by its key, and its folder is where it will be if it is yet to be made.
    """
    key = fine_tuned(path)
    if key is not None and dataset.read_complete(path.rstrip("/")) is None:
        return Path(path), BY_KEY + key
    folder = resolve_checkpoint(path, field)
    return folder, fingerprint(folder, dtype) if key is None else BY_KEY + key
