"""The flows of the deployments, run as a worker runs them: no terminal, parameters from a form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flows.deployed import PARTIAL
from flows.orders import Limits, Order, local_day
from qstar_core import partitions
from qstar_core.errors import UserError

from .conftest import PATIENT, ROOT, TINY

NIGHTS = """
import datetime, json, sys
from flows import settings
settings.apply()
from flows.deployed import nightly, train
found = []
for parameters in json.loads(sys.argv[1]):
    flow = train if parameters.pop("train", False) else nightly
    parameters["date"] = datetime.date.fromisoformat(parameters["date"])
    state = flow(**parameters, return_state=True)
    found.append([state.type.value, state.name, state.message])
print("STATES " + json.dumps(found))
"""


REPRODUCTION = """
import json, sys
from flows import settings
settings.apply()
import tasks.shards
told = []
tasks.shards.emit_published = lambda manifest, run: told.append(manifest["uri"])
from flows.deployed import reproduce
[parameters] = json.loads(sys.argv[1])
state = reproduce(**parameters, return_state=True)
print("STATES " + json.dumps([[state.type.value, state.message, told]]))
"""


def run_flows(
    api: str, *parameters: dict[str, Any], script: str = NIGHTS
) -> tuple[list[list[Any]], str]:
    """Type, name and message of the final state of each run, and all that was printed."""
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(parameters)],
        cwd=ROOT,
        env={**os.environ, **PATIENT, "PREFECT_API_URL": api, "PREFECT_LOGGING_LEVEL": "INFO"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("STATES "))
    return json.loads(line.removeprefix("STATES ")), done.stdout + done.stderr


@dataclass(frozen=True)
class Nights:
    """Four nights: made, nothing new, out of budget, and a training without its labels."""

    out: Path
    api: str
    states: list[list[Any]]
    output: str


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory, policy: Path, prefect_server: str) -> Nights:
    folder = tmp_path_factory.mktemp("nights")
    out, config = folder / "out", folder / "tiny.yaml"
    config.write_text(TINY.format(out=out, policy=policy), encoding="utf-8")
    given = {"config": str(config)}
    tight = {"overrides": ["rollouts.samples=12"], "limits": {"max_tokens": 3000}}
    states, output = run_flows(
        prefect_server,
        {**given, "date": "2026-11-26"},
        {**given, "date": "2026-11-27"},
        {**given, "date": "2026-11-28", **tight},
        {**given, "date": "2026-11-28", "overrides": ["rollouts.samples=6"], "train": True},
    )
    return Nights(out, prefect_server, states, output)


def records(nights: Nights) -> list[partitions.Record]:
    return partitions.records(str(nights.out), "tiny")


def test_a_night_leaves_a_record_and_the_next_one_makes_nothing_again(nights: Nights) -> None:
    assert [state[0] for state in nights.states[:2]] == ["COMPLETED"] * 2, nights.output
    first, second = records(nights)[:2]
    assert (first.date, second.date) == (date(2026, 11, 26), date(2026, 11, 27))
    assert list(first.stages) == [
        "problems",
        "rollouts",
        "labels",
        "qvm",
        "evaluation",
        "report",
    ]
    assert all(stage["made"] for stage in first.stages.values())
    assert not any(stage["made"] for stage in second.stages.values())
    assert first.key == second.key and first.whole and second.whole
    for stage in first.stages.values():
        assert (Path(stage["uri"]) / "manifest.json").is_file()


def test_a_night_out_of_budget_evaluates_with_the_last_model(nights: Nights) -> None:
    assert nights.states[2][:2] == ["COMPLETED", "Partial"], nights.states[2]
    assert "not whole: rollouts: runtime.max_tokens: " in nights.states[2][2]
    first, *_, last = records(nights)
    assert (last.date, last.whole) == (date(2026, 11, 28), False)
    assert list(last.stages) == ["problems", "evaluation", "report"]
    assert last.stages["evaluation"]["made"] and last.stages["report"]["made"]
    manifest = json.loads((Path(last.stages["evaluation"]["uri"]) / "manifest.json").read_text())
    assert manifest["config"]["qvm"]["path"] == first.stages["qvm"]["uri"]
    missing = partitions.missing(str(nights.out), "tiny", "nightly", date(2026, 11, 26), last.date)
    assert missing == [last.date]


def test_an_error_that_a_person_mends_is_the_message_of_the_run(nights: Nights) -> None:
    kind, name, message = nights.states[3]
    assert (kind, name) == ("FAILED", "Failed")
    assert "its input" in message and "Next: qstar" in message
    assert str(nights.out.parent / "tiny.yaml") in message  # instead of CONFIG


def test_no_end_of_a_run_is_taken_for_silence_and_bad_ones_are_told() -> None:
    file = ROOT / "deployments" / "prefect-server.yaml"
    found = {each["name"]: each for each in yaml.safe_load(file.read_text())["automations"]}
    ends = {f"prefect.flow-run.{name}" for name in ("Completed", PARTIAL, "Failed", "Stopped")}
    known = set(found["qstar-silent-runs"]["trigger"]["expect"])
    assert ends | {"prefect.flow-run.Cancelling", "prefect.flow-run.Cancelled"} < known
    told = set(found["qstar-failed-runs"]["trigger"]["expect"])
    assert told >= ends - {"prefect.flow-run.Completed"}


def test_names_and_tags_say_domain_date_and_key(nights: Nights) -> None:
    runs = httpx.post(f"{nights.api}/flow_runs/filter", json={"limit": 200}).json()
    mine = {run["name"]: run["tags"] for run in runs if "-tiny-countdown-2026-11-2" in run["name"]}
    key = records(nights)[0].stages["report"]["key"][:8]
    assert mine[f"nightly-tiny-countdown-2026-11-26-{key}"] == ["partition:2026-11-26"]
    assert f"nightly-tiny-countdown-2026-11-27-{key}" in mine
    assert any(name.startswith("train-tiny-countdown-2026-11-28-") for name in mine)


def test_publications_are_events(nights: Nights) -> None:
    first = records(nights)[0]
    expected = {f"qstar.{name}.published": stage for name, stage in first.stages.items()}
    found: dict[str, dict[str, Any]] = {}
    end = time.monotonic() + 120
    while time.monotonic() < end and not set(expected) < set(found):
        answer = httpx.post(
            f"{nights.api}/events/filter",
            json={"filter": {"event": {"prefix": ["qstar."]}, "order": "DESC"}, "limit": 50},
        )
        # Other tests of the session publish equal keys elsewhere.
        mine = [e for e in answer.json()["events"] if str(nights.out) in json.dumps(e["payload"])]
        keys = {stage["key"] for stage in expected.values()} | {first.key}
        events = [e for e in mine if e["payload"].get("key") in keys]
        found = {event["event"]: event for event in events}
        time.sleep(0.5)
    for name, stage in expected.items():
        payload = found[name]["payload"]
        assert {k: payload[k] for k in ("key", "uri", "rows")} == {
            k: stage[k] for k in ("key", "uri", "rows")
        }
    assert found["qstar.run.published"]["payload"]["flow"] == "nightly"


def test_what_is_made_again_in_a_scratch_folder_starts_no_deployment(nights: Nights) -> None:
    rollouts = records(nights)[0].stages["rollouts"]
    [state], output = run_flows(nights.api, {"dataset": rollouts["uri"]}, script=REPRODUCTION)
    assert state == ["COMPLETED", f"Equal, {rollouts['rows']} rows", []], output


def test_the_log_has_what_the_command_line_prints(nights: Nights) -> None:
    assert "rollouts    finished: 48 rows" in nights.output
    assert "record of 2026-11-26" in nights.output


def test_the_day_is_that_of_the_time_zone() -> None:
    moment = datetime(2026, 11, 28, 23, 30, tzinfo=UTC)
    assert local_day(moment, "UTC") == date(2026, 11, 28)
    assert local_day(moment, "Europe/Berlin") == date(2026, 11, 29)
    assert local_day(moment, "America/New_York") == date(2026, 11, 28)


@pytest.mark.parametrize("zone", ["Europe/Berln", "Europe", "Nowhere"])
def test_a_time_zone_that_is_none_is_said(zone: str) -> None:
    with pytest.raises(UserError, match=f"no time zone {zone}"):
        Order("a.yaml", time_zone=zone).day()


def test_limits_become_overrides() -> None:
    limits = Limits(max_tokens=5, max_price=0.25)
    assert limits.overrides() == ["runtime.max_tokens=5", "runtime.max_price=0.25"]
    order = Order.of({"config": "a.yaml", "date": "2026-11-28", "limits": {"workers": 3}, "x": 1})
    assert order.limits.workers == 3 and order.day() == date(2026, 11, 28)
