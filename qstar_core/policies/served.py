"""What a fleet of servers is, for the plan of a run: addresses, model, fingerprint. Loads nothing.

The weights lie with the servers. Where the same checkpoint is a folder here too, its content is
what the run key is made from; otherwise its name and the revision that the user declares.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from qstar_core.config import PolicyConfig, ServerConfig
from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.policies.identity import fingerprint

EXAMPLE = "for example --set policy.server.urls=[http://127.0.0.1:8000/v1]"


def addresses(config: ServerConfig) -> list[str]:
    """The base addresses of the servers, without a slash at the end.

    Raises:
        UserError: one is no address, has no version at its end, or holds a secret; a secret is
            not repeated.
    """
    found = []
    for number, url in enumerate(config.urls):
        field = f"policy.server.urls.{number}"
        parts = urlsplit(url)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise UserError(
                f"{field}: an address must not hold a user, a key or parameters",
                next_step=f"put the key into the environment variable {config.api_key_env}",
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{field}: {url!r} is no http address", next_step=EXAMPLE)
        path = parts.path.rstrip("/") or "/v1"
        found.append(f"{parts.scheme}://{parts.netloc}{path}")
    if len(set(found)) < len(found):
        raise UserError("policy.server.urls: an address stands there twice", next_step=EXAMPLE)
    return found


def local_folder(path: str) -> Path | None:
    """The folder of the served checkpoint if it is here too; None for a hub name.

    A hub name is never looked up: whether it is in a cache must not change a key.

    Raises:
        UserError: it is neither.
    """
    is_name = path.count("/") == 1 and not path.startswith((".", "/", "~", "reference:"))
    if is_name and not Path(path).is_dir():
        return None
    return resolve_checkpoint(path, "policy.path")


def model_name(policy: PolicyConfig) -> str | None:
    """The name under which the model is asked for; None is the only one that is served."""
    if policy.server.model is not None or local_folder(policy.path) is not None:
        return policy.server.model
    return policy.path  # vllm serve owner/name serves it under that name


def served_fingerprint(policy: PolicyConfig) -> str:
    """The fingerprint of a served policy.

    Raises:
        UserError: an address or the checkpoint's path is wrong.
    """
    addresses(policy.server)
    folder = local_folder(policy.path)
    weights = policy.path if folder is None else fingerprint(folder, policy.dtype)
    how = {"backend": "server", "dtype": policy.dtype, **policy.server.rows()}
    return content_id("policy", weights, {**how, **({"chat": True} if policy.chat else {})})
