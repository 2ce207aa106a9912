from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from flows import commands, inspect, sweeps


@pytest.mark.parametrize(("command", "module"), [("run", inspect), ("compare", sweeps)])
@pytest.mark.parametrize("out", [None, "other place"])
def test_the_next_command_has_the_overrides_of_the_one_that_ran(
    command: str, module: Any, out: str | None, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(inspect, "all_published", lambda stages: {})
    monkeypatch.setattr(module, "show_end", lambda *given: told.append(given[-1]))
    overrides = ["rollouts.samples=8", "comparison.tokens=[20, 40]"]
    commands.whole(command, str(config), False, out, overrides, False)
    [said] = told
    sets = ["--set", overrides[0], "--set", overrides[1]]
    place = ["--out", out] if out else []
    assert shlex.split(said) == ["qstar", command, str(config), *place, *sets]
