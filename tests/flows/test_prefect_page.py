"""Prefect's own page in headless Chromium: what somebody on call looks for is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows import server
from tests.browser import Browser, complaints, visible, wait

from .conftest import PATIENT, ROOT, TINY, call

pytestmark = [pytest.mark.slow, pytest.mark.browser]

NAMES = ["nightly", "rollouts", "label", "train", "evaluate", "compare", "reproduce"]
FIELDS = ["config", "date", "time_zone", "out", "overrides", "limits"]
ICONS = ("/favicon.ico", "/ico/undefined.svg")
"""What the page asks for and its server does not have, in Prefect 3.8."""


@dataclass(frozen=True)
class Site:
    """A standing server with the deployments and one finished night."""

    address: str

    def rows(self, kind: str) -> list[dict[str, Any]]:
        found = httpx.post(f"{self.address}/api/{kind}/filter", json={}).json()
        assert isinstance(found, list), found
        return found

    def run_id(self) -> str:
        [run] = [r for r in self.rows("flow_runs") if r["state_type"] == "COMPLETED"]
        return str(run["id"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, policy: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        for name, value in PATIENT.items():
            patch.setenv(name, value)
        port = server.free_port()
        process = server.start_standing(port, with_parent=True)
        assert process.stdin is not None
        with process, closing(process.stdin):  # its end ends the server
            address = f"http://127.0.0.1:{port}"
            server.wait_healthy(f"{address}/api", process)
            config = folder / "tiny.yaml"
            config.write_text(TINY.format(out=folder / "out", policy=policy), encoding="utf-8")
            for arguments in (("deploy", ROOT / "deployments/prefect.yaml"), ("run", config)):
                done = call(*arguments, PREFECT_API_URL=f"{address}/api")
                assert done.returncode == 0, done.stdout + done.stderr
            yield Site(address)


@pytest.fixture
def visit(site: Site, browser: Browser) -> Iterator[Any]:
    """Opens a page of the server and waits for texts; the end looks for complaints.

    QSTAR_SCREENSHOTS names a folder for pictures of what was seen.
    """

    def visit(path: str, *expected: str) -> str:
        browser.get(f"{site.address}{path}")
        for text in expected:
            wait(browser, "return document.body.innerText.includes(arguments[0])", text)
        folder = os.environ.get("QSTAR_SCREENSHOTS")
        if folder:
            browser.save_screenshot(str(Path(folder, f"{path.strip('/').replace('/', '-')}.png")))
        return str(browser.execute_script("return document.body.innerText"))

    browser.set_window_size(1300, 1000)
    browser.get_log("browser")
    yield visit
    found = [c for c in complaints(browser) if not any(icon in c["message"] for icon in ICONS)]
    assert found == []


def test_the_deployments_are_listed(visit: Any, browser: Browser) -> None:
    text = visit("/deployments", "7 Deployments", *NAMES)
    assert text.count("qstar") >= len(NAMES)  # the tag of each


def test_the_form_of_a_run_explains_its_parameters(
    visit: Any, site: Site, browser: Browser
) -> None:
    [nightly] = [d for d in site.rows("deployments") if d["name"] == "nightly"]
    text = visit(f"/deployments/deployment/{nightly['id']}/run", "Parameters", *FIELDS)
    assert "Hard limits of this run." in text and "Price (Optional)" in text
    filled = browser.execute_script(
        "return Array.from(document.querySelectorAll('input, textarea')).map(e => e.value)"
    )
    assert "deployments/demo.yaml" in filled and "Europe/Berlin" in filled
    described = visit(f"/deployments/deployment/{nightly['id']}", "Concurrency Limit", "Schedules")
    assert "flows.deployed.nightly" in described


def test_the_artifacts_are_the_table_and_the_way_to_the_report(visit: Any, site: Site) -> None:
    visit("/artifacts", "2 Artifacts", "comparison", "report")
    found = {each["key"]: each["id"] for each in site.rows("artifacts")}
    table = visit(f"/artifacts/artifact/{found['comparison']}", "accuracy", "best-of-N", "A*")
    assert "0.4899" in table and "0.48989" not in table  # as many digits as anybody reads
    visit(f"/artifacts/artifact/{found['report']}", "Report of tiny", "report.html")


def test_the_graph_of_a_run_is_drawn(visit: Any, site: Site, browser: Browser) -> None:
    run = site.run_id()
    visit(f"/runs/flow-run/{run}", "nightly-tiny-", "Completed", "22 Task runs")
    wait(browser, "return document.querySelectorAll('canvas').length > 0")
    [canvas] = visible(browser, "canvas")
    assert canvas.size["width"] > 500 and canvas.size["height"] > 200
    graph = httpx.get(f"{site.address}/api/flow_runs/{run}/graph-v2").json()
    labels = [node["label"] for _, node in graph["nodes"]]
    assert len(labels) == 22 and "publish-report" in labels
    assert any(node["parents"] for _, node in graph["nodes"])
