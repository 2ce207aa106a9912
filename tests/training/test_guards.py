from __future__ import annotations

import os

import pytest
import torch

from qstar_core.errors import UserError
from qstar_core.training.guards import WORKSPACE, deterministic, told_when_full


@pytest.mark.parametrize("failing", [False, True])
def test_the_process_is_as_it_was(monkeypatch: pytest.MonkeyPatch, failing: bool) -> None:
    for name in WORKSPACE:
        monkeypatch.delenv(name, raising=False)
    try:
        with deterministic():
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.utils.deterministic.fill_uninitialized_memory
            assert {name: os.environ[name] for name in WORKSPACE} == WORKSPACE
            if failing:
                raise KeyError
    except KeyError:
        assert failing
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_on_cuda_what_has_no_deterministic_way_is_run_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with deterministic():
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nof 80"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    ],
    ids=str,
)
def test_memory_that_runs_out_is_said_with_what_helps(error: Exception) -> None:
    with (
        pytest.raises(UserError, match="prm: out of memory in training: ") as caught,
        told_when_full("prm", ["set a=1", "lower b"]),
    ):
        raise error
    assert caught.value.next_step.startswith("set a=1, or lower b; then")
    assert "\n" not in caught.value.what


def test_other_errors_stay_what_they_are() -> None:
    for error in (RuntimeError("shapes differ"), UserError("known")):
        with pytest.raises(type(error), match=str(error)), told_when_full("qvm", []):
            raise error
