"""Waiting for other processes: on conditions, with limits that only a hang exceeds."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

PATIENCE_S = 300.0
POLL_S = 0.02


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition; fails, saying what was waited for, after a very long time."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE_S:g} s in vain: {what}"
        time.sleep(POLL_S)


def ended(pid: int) -> bool:
    """Whether a process is gone, or dead and only not yet reaped."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def children(pid: int, *words: str) -> list[psutil.Process]:
    """The child processes whose command line has all of some words."""
    found = []
    for child in psutil.Process(pid).children():
        try:
            if set(words) <= set(child.cmdline()):
                found.append(child)
        except psutil.Error:  # ended meanwhile
            continue
    return found


def has_loaded(process: psutil.Process, library: str) -> bool:
    """Whether a process has mapped a file with a name like this."""
    try:
        return any(library in each.path for each in process.memory_maps())
    except psutil.Error:
        return False
