"""What a night falls back to; the flows themselves are run in test_deployed."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import nights
from flows.nights import evaluate_at_least, with_last_models
from flows.stages import BudgetSpent
from qstar_core import partitions, pipeline
from qstar_core.config import RunConfig
from qstar_core.errors import UserError

DAY = date(2026, 11, 28)


def put_model(out: Path, day: date, uri: str) -> None:
    entry = {"kind": "qvm", "key": uri[-1] * 24, "uri": uri, "rows": 1}
    stages = {"qvm": {**entry, "made": True, "seconds": 1.0}}
    partitions.put(str(out), partitions.Record("run", "nightly", day, stages))


def config(out: Path) -> RunConfig:
    return RunConfig.model_validate({"name": "run", "out": str(out)})


def test_the_models_are_those_of_the_night_or_before(tmp_path: Path) -> None:
    put_model(tmp_path, DAY, "models/a")
    put_model(tmp_path, DAY + timedelta(days=1), "models/b")
    found = [with_last_models(config(tmp_path), DAY + timedelta(days=n)) for n in (-1, 0, 7)]
    assert found[0] is None
    assert [each.qvm.path for each in found[1:] if each] == ["models/a", "models/b"]


def test_without_a_model_the_night_fails_with_what_failed(tmp_path: Path) -> None:
    shop: Any = SimpleNamespace(config=config(tmp_path))
    with pytest.raises(BudgetSpent, match="spent"):
        evaluate_at_least(shop, DAY, BudgetSpent("rollouts: spent"))


def test_an_evaluation_that_fails_too_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model(tmp_path, DAY, "models/a")
    shop: Any = SimpleNamespace(config=config(tmp_path), budget=SimpleNamespace(give_back=int))
    first = UserError("row 3 of problems.jsonl", next_step="mend row 3")
    plan = pipeline.plan

    def gone(config: RunConfig) -> Any:
        if config.qvm.path is None:
            return plan(config)
        raise UserError(f"{config.qvm.path}: there is no such model", next_step="leave it out")

    monkeypatch.setattr(nights.pipeline, "plan", gone)
    monkeypatch.setattr(nights, "replace", lambda shop, config: shop)
    with pytest.raises(UserError) as caught:
        evaluate_at_least(shop, DAY, first)
    assert caught.value.what == (
        "row 3 of problems.jsonl; then, evaluating with models/a: models/a: there is no such model"
    )
    assert caught.value.next_step == "mend row 3"
