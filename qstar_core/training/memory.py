"""How much memory a training takes."""

from __future__ import annotations

import resource

import torch


def peak_memory_mib() -> float:
    """The most memory so far in MiB: that of the GPU in use, else what was resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # Linux counts in KiB
