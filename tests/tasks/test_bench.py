from __future__ import annotations

import pytest

from qstar_core.config import RuntimeConfig
from tasks.bench import make_pool


@pytest.mark.parametrize(
    ("backend", "given", "expected"),
    [
        ("vllm", None, "PASSIVE"),
        ("vllm", "ACTIVE", "ACTIVE"),
        ("transformers", None, None),
        ("server", None, None),
    ],
)
def test_only_threads_of_vllm_are_told_to_sleep(
    backend: str, given: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    pool = make_pool(2, RuntimeConfig(), {backend, "transformers"}, threads=None)
    assert pool._env.get("OMP_WAIT_POLICY") == expected
