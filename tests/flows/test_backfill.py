"""Dates that are missing, and only those, become runs on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.backfill import backfill
from flows.deploy import deploy
from qstar_core import partitions
from qstar_core.errors import UserError

from .conftest import TINY

FIRST, LAST = date(2026, 11, 20), date(2026, 11, 24)
FILE = """\
pull: []
deployments:
  - name: {name}
    entrypoint: flows.deployed.nightly
    tags: [qstar]
    parameters: {{config: {config}}}
    work_pool: {{name: pool-{name}}}
"""


@pytest.fixture
def out(
    tmp_path: Path, policy: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A deployment ``nightly/NAME`` of a tiny run, NAME that of the folder; its output folder."""
    monkeypatch.setenv("QSTAR_HOME", str(tmp_path))
    out, config = tmp_path / "out", tmp_path / "tiny.yaml"
    config.write_text(TINY.format(out=out, policy=policy), encoding="utf-8")
    name = tmp_path.name
    (tmp_path / "prefect.yaml").write_text(FILE.format(name=name, config=config))
    (tmp_path / "prefect-server.yaml").write_text(
        f"work_pools: [{{name: pool-{name}, type: process}}]\n"
    )
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        assert [s.state for s in deploy(str(tmp_path / "prefect.yaml"))] == ["made", "made"]
        yield str(out)


def put(out: str, day: date, whole: bool = True) -> None:
    manifest = {"kind": "report", "key": "a" * 24, "uri": f"{out}/report/a", "rows": 0}
    entry = partitions.stage_entry(manifest, made=True)
    partitions.put(out, partitions.Record("tiny", "nightly", day, {"report": entry}, whole))


def test_five_dates_with_two_present_make_three_runs(out: str, tmp_path: Path) -> None:
    for day in (21, 23):
        put(out, date(2026, 11, day))
    put(out, date(2026, 11, 24), whole=False)  # only evaluated: to be made again
    name = f"nightly/{tmp_path.name}"
    states = [day.state for day in backfill(name, FIRST, LAST, dry_run=True)]
    assert states == ["scheduled", "there", "scheduled", "there", "scheduled"]
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(name)

        def runs() -> list[tuple[str, str, list[str]]]:
            found = client.read_flow_runs()
            mine = [run for run in found if run.deployment_id == deployment.id]
            return sorted((r.name, r.parameters["date"], sorted(r.tags)) for r in mine)

        assert runs() == []
        assert [day.state for day in backfill(name, FIRST, LAST)] == states
        expected = [
            (f"nightly-2026-11-{d}", f"2026-11-{d}", [f"partition:2026-11-{d}", "qstar"])
            for d in (20, 22, 24)
        ]
        assert runs() == expected
        again = [day.state for day in backfill(name, FIRST, LAST)]
        assert again == ["on its way", "there", "on its way", "there", "on its way"]
        assert runs() == expected


def test_a_run_that_failed_is_made_again(out: str, tmp_path: Path) -> None:
    from prefect.states import Failed

    name = f"nightly/{tmp_path.name}"
    backfill(name, FIRST, FIRST)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(name)
        [run] = [r for r in client.read_flow_runs() if r.deployment_id == deployment.id]
        client.set_flow_run_state(run.id, Failed(), force=True)
        assert [day.state for day in backfill(name, FIRST, FIRST)] == ["scheduled"]
        assert len([r for r in client.read_flow_runs() if r.deployment_id == deployment.id]) == 2


def test_runs_that_prefect_has_forgotten_do_not_stand_for_new_ones(
    out: str, tmp_path: Path
) -> None:
    from prefect.states import Failed

    name = f"nightly/{tmp_path.name}"
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(name)

        def runs() -> list[FlowRun]:
            found = client.read_flow_runs()
            mine = [run for run in found if run.deployment_id == deployment.id]
            return sorted(mine, key=lambda run: str(run.created))

        for _ in range(2):
            backfill(name, FIRST, FIRST)
            client.set_flow_run_state(runs()[-1].id, Failed(), force=True)
        client.delete_flow_run(runs()[0].id)
        assert [day.state for day in backfill(name, FIRST, FIRST)] == ["scheduled"]
        assert [bool(run.state and run.state.is_final()) for run in runs()] == [True, False]


def test_a_deployment_without_a_configuration_has_no_dates(out: str, tmp_path: Path) -> None:
    name = f"again-{tmp_path.name}"
    (tmp_path / "prefect.yaml").write_text(
        f"deployments: [{{name: {name}, entrypoint: flows.deployed.reproduce}}]\n"
    )
    assert "made" in [step.state for step in deploy(str(tmp_path / "prefect.yaml"))]
    with pytest.raises(UserError, match="belong to no date"):
        backfill(f"reproduce/{name}", FIRST, LAST)


def test_what_is_wrong_is_said(out: str) -> None:
    with pytest.raises(UserError, match="no deployment nightly/nope"):
        backfill("nightly/nope", FIRST, LAST)
