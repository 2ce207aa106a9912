"""Freed memory goes back to the system between the shards of a worker that lives all night."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Asks the C library to return what was freed; does nothing where it is not glibc.

    Batches of ever new shapes leave the heap in pieces, and glibc keeps them: a worker would grow
    by a fifth within ten shards. It takes milliseconds.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
