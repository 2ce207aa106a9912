"""What a training needs beside torch and transformers, where the workers run.

qstar installs it, but an environment that was made for sampling alone may lack it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from qstar_core.errors import UserError

VALUE_MODEL = ("accelerate>=1.15,<2",)
ADAPTER = ("peft>=0.21,<1",)
POLICY = ("trl>=1.16,<1.17", *ADAPTER, *VALUE_MODEL, "datasets>=5.2,<6")


def check_installed(section: str, needed: Sequence[str]) -> None:
    """Refuses a training that its environment lacks packages for.

    Args:
        section: of the configuration that is trained by.
        needed: requirements in pip's words.

    Raises:
        UserError: a package is missing, or of another version.
    """
    from transformers.utils.versions import require_version

    lacking = []
    for requirement in needed:
        try:
            require_version(requirement)
        except ImportError:  # what it raises for another version, and for none
            lacking.append(requirement)
    if lacking:
        quoted = " ".join(f"'{each}'" for each in lacking)
        raise UserError(
            f"{section}: {sys.executable} cannot train, it lacks {', '.join(lacking)}",
            safe="what was made before is kept, and nothing was trained",
            next_step=f"{sys.executable} -m pip install {quoted}",
        )
