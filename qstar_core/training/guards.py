"""What stands around a training: equal weights of equal runs, and a word when memory runs out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from qstar_core.errors import UserError

WORKSPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Without it torch calls no matrix product on CUDA deterministic."""
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
"""In the words of torch on a CPU, which has no type of its own for it, and of CUDA and cuBLAS where
it is not torch that ran out."""


@contextmanager
def deterministic() -> Iterator[None]:
    """Equal runs give equal weights; on the way out the process is as it was.

    On CUDA a layer without a deterministic implementation is run all the same.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    memory = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory  # type: ignore[attr-defined]
    for name, value in WORKSPACE.items():
        os.environ.setdefault(name, value)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # uninitialised memory that nothing reads need not be filled
    memory.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        memory.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@contextmanager
def told_when_full(section: str, advice: Sequence[str]) -> Iterator[None]:
    """Makes an error of the user's out of memory that has run out.

    Args:
        section: of the configuration that is trained by.
        advice: what to change in it, the best first.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        short = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not short and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        raise UserError(
            f"{section}: out of memory in training: "
            f"{str(error).splitlines()[0] if str(error) else 'RAM'}",
            safe="what was made before is kept, and the checkpoints before are",
            next_step=f"{', or '.join(advice)}; then run the same command again",
        ) from error
