from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qstar_core import jobs
from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.evaluation import assemble
from qstar_core.jobs import expect
from tests.evaluation.examples import report_data


def test_a_report_of_shards_from_several_environments_shows_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several: Any = [{"python": "3.11.7"}, {"python": "3.12.1"}]
    data = replace(report_data(), environment=several)
    monkeypatch.setattr(assemble, "assemble", lambda inputs, key, config: data)
    spec = {"uri": str(tmp_path / "set"), "shard": "html", "inputs": {}, "key": "k"}
    jobs.report(spec, RunConfig(), lambda done, total, unit, note: None)
    page = (tmp_path / "set" / "report.html").read_text(encoding="utf-8")
    for part in ("1.python", "3.11.7", "2.python", "3.12.1"):
        assert part in page


def test_a_checkpoint_that_changed_after_the_plan_is_refused() -> None:
    expect({"models": {"policy": "abc"}}, "policy", "abc")
    expect({}, "policy", "abc")
    with pytest.raises(UserError, match="policy's checkpoint has changed") as caught:
        expect({"models": {"policy": "abc"}}, "policy", "def")
    assert "run the same command again" in caught.value.next_step
