from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qstar_core import jobs
from qstar_core.config import PretrainConfig, RunConfig
from qstar_core.errors import UserError
from qstar_core.evaluation import assemble
from qstar_core.jobs import expect
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.store import open_store
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


@pytest.mark.slow
def test_a_policy_is_pretrained_onto_s3(bucket: str) -> None:
    tiny = PretrainConfig(
        steps=2,
        batch_size=8,
        hidden_size=16,
        intermediate_size=32,
        layers=1,
        heads=2,
        rarity_plays=1000,
        compile=False,
    )
    config = RunConfig(pretrain=tiny)
    uri = f"{bucket}/policy"
    receipt = jobs.pretrain({"uri": uri}, config, lambda *_: None)
    store = open_store(uri)
    assert json.loads(store.read("manifest.json"))["files"] == receipt["files"]
    assert {e["name"]: e["bytes"] for e in receipt["files"]}.items() <= store.sizes().items()
    folder = resolve_checkpoint(uri, "policy.path")
    assert (folder / "config.json").is_file()
