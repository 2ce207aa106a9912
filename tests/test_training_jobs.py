from __future__ import annotations

from typing import Any

import pytest

from qstar_core import training_jobs
from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.jobs import JOBS


@pytest.mark.parametrize("section", ["qvm", "prm"])
@pytest.mark.parametrize("rank", [0, 2])
def test_missing_packages_are_said_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, section: str, rank: int
) -> None:
    monkeypatch.setattr(training_jobs, "VALUE_MODEL", ("accelerate-not-there>=1",))
    monkeypatch.setattr(training_jobs, "ADAPTER", ("peft-not-there>=1",))
    config = RunConfig.model_validate({section: {"lora_rank": rank}})
    with pytest.raises(UserError, match=f"{section}: .* cannot train, it lacks") as caught:
        JOBS[section]({}, config, nothing)
    assert "-m pip install 'accelerate-not-there>=1'" in caught.value.next_step
    assert ("peft-not-there" in caught.value.next_step) == (rank > 0)


def nothing(*_: Any) -> None:
    """No progress."""
