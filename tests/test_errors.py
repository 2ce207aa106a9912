from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from qstar_core.errors import told_in_text, users_to_mend


def system_error(number: int, path: str = "/data/x") -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free space"),
        (errno.EDQUOT, "free space"),
        (errno.EROFS, "writable"),
        (errno.EACCES, "permission"),
        (errno.EPERM, "permission"),
    ],
)
def test_what_a_retry_cannot_mend_is_the_users(number: int, advice: str) -> None:
    error = users_to_mend(system_error(number))
    assert error is not None
    assert error.what == f"{os.strerror(number)}: /data/x"
    assert "will be kept" in error.safe
    assert advice in error.next_step
    assert error.next_step.endswith("run the same command again")


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOMEM, errno.EMFILE, errno.EPIPE]
)
def test_other_errors_of_the_system_may_pass(number: int) -> None:
    assert users_to_mend(system_error(number), ["/data"]) is None


def test_only_a_missing_input_is_the_users() -> None:
    missing = system_error(errno.ENOENT, "/data/x")
    assert users_to_mend(missing) is None
    assert users_to_mend(missing, ["/out", "/dat"]) is None
    error = users_to_mend(missing, ["/out", "/data"])
    assert error is not None
    assert "put /data/x back" in error.next_step


def test_a_missing_input_that_polars_looked_for_is_known(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        pl.scan_parquet(tmp_path / "gone.parquet").collect()
    error = users_to_mend(caught.value, [str(tmp_path)])
    assert error is not None
    assert "gone.parquet" in error.next_step


SAVES = """
import resource, sys
import numpy as np
from safetensors.numpy import save_file
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    save_file({"weight": np.zeros(1_000_000)}, sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
"""


def test_what_safetensors_says_of_the_system_is_understood(tmp_path: Path) -> None:
    """It cannot write, here because of a limit on the size of files."""
    command = [sys.executable, "-c", SAVES, str(tmp_path / "model.safetensors")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("SafetensorError")
    found = told_in_text(RuntimeError(said))
    assert found is not None and found.errno == errno.EFBIG


def test_a_full_disk_in_words_is_a_full_disk() -> None:
    text = "Error while serializing: I/O error: No space left on device (os error 28)"
    found = told_in_text(RuntimeError(text))
    assert found is not None and found.errno == errno.ENOSPC
    error = users_to_mend(found)
    assert error is not None and "free space" in error.next_step


def test_a_message_without_a_number_tells_nothing_of_the_system() -> None:
    assert told_in_text(ValueError("os error")) is None
    assert isinstance(told_in_text(RuntimeError("denied (os error 13)")), PermissionError)
