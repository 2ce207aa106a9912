"""Whether the weights of a checkpoint are whole, without torch."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from qstar_core.errors import UserError


def check_whole(folder: Path, field: str) -> None:
    """Refuses weights that were cut short, or are none.

    Only the head of each file is read, and compared with its length: a byte that changed in the
    middle is found by ``qstar verify``, where there is a manifest.

    Args:
        folder: of the checkpoint.
        field: of the configuration that names it.

    Raises:
        UserError: a file is not what a safetensors file is; names it.
    """
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy"):
                continue
        except SafetensorError as error:
            raise UserError(
                f"{field}: {file} is damaged, or was not copied whole: {error}",
                safe="what was made before is kept",
                next_step=f"copy it anew from where it came, or name another checkpoint in {field}",
            ) from error
