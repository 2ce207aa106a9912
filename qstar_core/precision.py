"""Mixed precision: matrix products in bfloat16 where the hardware has them, else in float32.

A CPU without them emulates them, element by element: on one with AVX2 alone a product in bfloat16
took 25 to 40 times as long as one in float32. So a training that asks for bfloat16 computes in
float32 there, which is no less exact. The weights that come of it differ in their last digits from
those of a machine that has such products, as they do between any two kinds of processors.
"""

from __future__ import annotations

import torch


def multiplies_bf16(device: str) -> bool:
    """Whether a device type, ``"cpu"`` or ``"cuda"``, multiplies bfloat16 matrices in hardware.

    Of a CPU, oneDNN's own answer: x86 with AVX-512, ARM with BF16.
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Without oneDNN there is no such operator, and no product in bfloat16 that is fast.
    known = torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_is_mkldnn_bf16_supported"
    )
    return known and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def training_device() -> str:
    """The type of the device that trainings run on: ``"cuda"`` where there is one, or ``"cpu"``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def computes_in_bf16(asked: bool) -> bool:
    """Whether a training computes in bfloat16 here.

    Args:
        asked: the configuration's ``bf16``.
    """
    return asked and multiplies_bf16(training_device())
