from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qstar_core.config import RunConfig
from qstar_core.errors import UserError
from qstar_core.keys import content_id
from qstar_core.provenance.runs import runs
from qstar_core.store import open_store


def publish(out: str, night: int, report: bool = True, **config: Any) -> tuple[str, str]:
    """The manifests of an evaluation and of its report; returns their keys."""
    whole = RunConfig.model_validate({"name": "demo", **config}).model_dump(mode="json")
    key, page = content_id(["evaluation", night, config]), content_id(["report", night, config])
    row = {"method": "A*", "algorithm": "astar", "accuracy": 0.5, "low": 0.4, "high": 0.6}
    evaluation = {
        "kind": "evaluation",
        "key": key,
        "created": f"2025-06-0{night}T02:00:00+00:00",
        "config": whole,
        "inputs": {},
        "files": [],
        "figures": {"comparison": [{**row, "verdict": "baseline"}]},
    }
    put(out, f"evaluation/{key}/manifest.json", evaluation)
    if report:
        head = {"kind": "report", "key": page, "inputs": {"evaluation": key}, "figures": {}}
        put(out, f"report/{page}/manifest.json", {**head, "files": [{"name": "report.html"}]})
    return key, page


def put(out: str, name: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    open_store(out).replace(name, text.encode())


@pytest.fixture(params=["local", "s3"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "out")
    return f"{request.getfixturevalue('bucket')}/nights"


def test_without_records_runs_stand_where_they_were_published(out: str) -> None:
    for night in (3, 1, 2):
        method = "mean_of_rollouts" if night == 3 else "best_of_rollouts"
        publish(out, night, labels={"method": method}, seed=0)
    nights = runs(out)["nights"]["demo"]
    assert [night["date"][:10] for night in nights] == ["2025-06-01", "2025-06-02", "2025-06-03"]
    assert [[change["field"] for change in night["changes"]] for night in nights] == [
        [],
        [],
        ["labels.method"],
    ]
    assert all(night["page"].startswith("report/") for night in nights)


def test_records_give_the_dates_even_to_runs_that_made_nothing(out: str) -> None:
    key, page = publish(out, 9)
    other, _ = publish(out, 8, report=False, seed=1)
    put(out, "runs/nightly/2025-06-01.json", {"date": "2025-06-01", "stages": {"evaluation": key}})
    partial = {"report": f"{out}/report/{page}", "whole": False, "note": "budget spent"}
    put(out, "runs/nightly/2025-06-02.json", partial)
    for flow in ("nightly", "evaluate"):  # two flows of one name for one date are one night
        record = {"stages": {"evaluation": {"key": other, "uri": f"{out}/evaluation/{other}"}}}
        put(out, f"runs/nightly/2025-06-03/{flow}-{'0' * 24}.json", record)
    put(out, "runs/nightly/2025-06-04.json", "{ not JSON")
    found = runs(out)
    nights = found["nights"]["nightly"]
    assert [(night["date"], night["key"]) for night in nights] == [
        ("2025-06-01", key),
        ("2025-06-02", key),
        ("2025-06-03", other),
    ]
    assert [bool(night["changes"]) for night in nights] == [False, False, True]
    assert nights[2]["page"] == ""
    assert [night["note"] for night in nights] == ["", "budget spent", ""]
    [problem] = found["unread"]
    assert problem.startswith("runs/nightly/2025-06-04.json")


def test_a_damaged_manifest_costs_only_itself(out: str) -> None:
    publish(out, 1)
    put(out, f"evaluation/{'0' * 24}/manifest.json", "{")
    put(out, f"evaluation/{'1' * 24}/manifest.json", {"kind": "evaluation"})
    put(out, f"report/{'2' * 24}/manifest.json", {"key": "2" * 24, "figures": {}, "files": []})
    found = runs(out)
    assert len(found["nights"]["demo"]) == 1 and len(found["unread"]) == 3
    assert found["unread"][-1].endswith("has no inputs")


def test_a_report_without_a_page_has_no_link(out: str) -> None:
    key, _ = publish(out, 1, report=False)
    head = {"key": "2" * 24, "inputs": {"evaluation": key}, "figures": {}, "files": []}
    put(out, f"report/{'2' * 24}/manifest.json", head)
    [night] = runs(out)["nights"]["demo"]
    assert night["page"] == ""


def test_a_folder_without_runs_is_refused(out: str) -> None:
    put(out, "note.txt", "x")
    with pytest.raises(UserError, match="nothing there was evaluated"):
        runs(out)
