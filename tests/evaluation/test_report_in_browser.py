"""The report in headless Chromium: what a reader clicks works, and nothing complains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from qstar_core.evaluation.comparison_report import render as render_comparison
from qstar_core.evaluation.index_page import render as render_index
from qstar_core.evaluation.report import render
from tests.browser import Browser, complaints, find, texts, visible, wait
from tests.evaluation.examples import (
    HOSTILE,
    against_data,
    comparison_data,
    hostile_data,
    report_data,
)
from tests.evaluation.test_index_page import nights

pytestmark = pytest.mark.browser

Open = Callable[..., Browser]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("report")
    addresses = {}
    beside: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qstar_core.evaluation.explorer.INLINE_BYTES", 0)
        patch.setattr("qstar_core.evaluation.explorer.PART", 8)
        split = render(report_data(), beside, "split")
        missing = render(report_data(), {}, "missing")
    for name, text in beside.items():
        (folder / name).write_text(text, encoding="utf-8")
    found = {"nights": {"demo": nights()}, "comparisons": [], "unread": []}
    drawn = {
        "plain": render(report_data()),
        "hostile": render(hostile_data()),
        "against": render(against_data()),
        "split": split,
        "missing": missing,
        "comparison": render_comparison(comparison_data()),
        "index": render_index(found, "results/demo", "2025-06-08T06:00:00+00:00"),
    }
    for name, text in drawn.items():
        path = folder / f"{name}.html"
        path.write_text(text, encoding="utf-8")
        addresses[name] = path.as_uri()
    return addresses


@pytest.fixture
def open_page(browser: Browser, pages: dict[str, str]) -> Open:
    def open_it(name: str = "plain", width: int = 1280, scheme: str = "light") -> Browser:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        preferences = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in preferences.items()]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get_log("browser")
        browser.get("about:blank")
        browser.get(pages[name])
        if find(browser, "#browser"):
            wait(browser, "return document.documentElement.dataset.ready === '1'")
        return browser

    return open_it


def pick(browser: Browser, place: int) -> None:
    """Clicks a problem of the list and waits for its panel."""
    button = visible(browser, ".pick")[place]
    prompt = button.find_element("css selector", ".prompt").text
    button.click()
    script = f"return document.querySelector('.panel h3').innerText.trim() === {json.dumps(prompt)}"
    wait(browser, script)


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_a_problem_shows_its_tree(open_page: Open, width: int, scheme: str) -> None:
    browser = open_page(width=width, scheme=scheme)
    picks = visible(browser, ".pick")
    assert len(picks) == 20
    prompt = picks[3].find_element("css selector", ".prompt").text
    pick(browser, 3)
    [panel] = visible(browser, ".panel")
    assert panel.find_element("css selector", "h3").text == prompt
    nodes = texts(browser, ".tree .text")
    assert prompt in nodes and any(" | " in text for text in nodes)
    assert visible(browser, ".tree li.chosen") and visible(browser, ".tree-drawing .node")
    width_needed = browser.execute_script("return document.documentElement.scrollWidth")
    assert width_needed <= width
    assert complaints(browser) == []


@pytest.mark.parametrize("name", ["plain", "against", "index"])
def test_nothing_was_requested(open_page: Open, name: str) -> None:
    browser = open_page(name)
    script = "return performance.getEntriesByType('resource').length"
    assert browser.execute_script(script) == 0


def test_dark_mode_is_dark(open_page: Open) -> None:
    script = "return getComputedStyle(document.body).backgroundColor"
    assert open_page(scheme="light").execute_script(script) == "rgb(255, 255, 255)"
    assert open_page(scheme="dark").execute_script(script) == "rgb(20, 23, 26)"


def test_the_tree_opens_and_closes(open_page: Open) -> None:
    browser = open_page()
    everything, chosen = visible(browser, ".tools button")
    few = len(visible(browser, ".tree .row"))
    everything.click()
    assert few < len(visible(browser, ".tree .row"))
    chosen.click()
    assert len(visible(browser, ".tree .row")) == few
    node = visible(browser, ".tree-drawing .node.open")[-1]
    browser.execute_script(
        "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", node
    )
    [item] = find(browser, ".tree li.found")
    assert item.is_displayed() and item.get_attribute("id") == node.get_attribute("data-node")


def test_the_method_stays_chosen_from_problem_to_problem(open_page: Open) -> None:
    browser = open_page()

    def title() -> str:
        [button] = visible(browser, ".tabs button[aria-pressed='true']")
        return str(button.get_attribute("data-method"))

    assert title() == "A*"
    next(b for b in visible(browser, ".tabs button") if b.text.startswith("best-of-N")).click()
    assert title() == "best-of-N"
    pick(browser, 5)
    assert title() == "best-of-N"
    [view] = visible(browser, ".tree-view")
    assert view.find_elements("css selector", ".row")


def test_the_filters(open_page: Open) -> None:
    from selenium.webdriver.support.ui import Select

    browser = open_page()
    [field] = find(browser, "#find")
    field.send_keys("13 10 9 4")
    assert texts(browser, ".pick .prompt") == ["13 10 9 4 > 24"]
    assert find(browser, "#count")[0].text == "1 of 20 problems"
    field.clear()
    field.send_keys(" ")
    assert len(visible(browser, ".pick")) == 20
    results: dict[str, dict[str, bool]] = {}
    for row in report_data().searches.iter_rows(named=True):
        results.setdefault(row["problem_id"], {})[row["method"]] = row["outcome"] == "correct"
    solved = list(results.values())
    expected = {
        "all": sum(all(r.values()) for r in solved),
        "only": sum(r["A*"] and sum(r.values()) == 1 for r in solved),
        "lost": sum(not r["A*"] and any(r.values()) for r in solved),
        "headline": sum(r["A*"] and not r["best-of-N"] for r in solved),
        "baseline": sum(r["best-of-N"] and not r["A*"] for r in solved),
        "differ": sum(any(r.values()) and not all(r.values()) for r in solved),
        "none": sum(not any(r.values()) for r in solved),
        "failed": 0,
        "": 20,
    }
    for value, count in expected.items():
        Select(find(browser, "#solved")[0]).select_by_value(value)
        assert len(visible(browser, ".pick")) == count
    assert complaints(browser) == []


def test_hostile_text_does_nothing(open_page: Open) -> None:
    browser = open_page("hostile")
    assert find(browser, "img") == []
    assert find(browser, "h1")[0].text == HOSTILE
    assert any(HOSTILE in text for text in texts(browser, ".tree .text"))
    script = "return document.documentElement.scrollWidth"
    assert open_page("hostile", width=390).execute_script(script) <= 390
    assert complaints(browser) == []


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_a_comparison_can_be_read(open_page: Open, width: int, scheme: str) -> None:
    browser = open_page("comparison", width=width, scheme=scheme)
    assert len(visible(browser, ".chart.sweep")) == 2  # the other size of each is hidden
    assert len(visible(browser, "h3.budget")) == 8
    needed = browser.execute_script("return document.documentElement.scrollWidth")
    assert needed <= width
    [summary] = texts(browser, "#summary")
    assert "at 800 policy tokens" in summary
    visible(browser, "summary")[0].click()
    assert len(visible(browser, ".reached tbody tr")) == 2 + 6 + 2
    assert browser.execute_script(OVERLAPPING) == []
    assert complaints(browser) == []
    script = "return performance.getEntriesByType('resource').length"
    assert browser.execute_script(script) == 0


OVERLAPPING = """
const found = [];
document.querySelectorAll(".chart.sweep").forEach((chart) => {
  const boxes = Array.from(chart.querySelectorAll(".direct")).map((e) => e.getBoundingClientRect());
  const edge = document.documentElement.clientWidth;
  boxes.forEach((a, i) => {
    if (a.right > edge) found.push("outside");
    boxes.slice(i + 1).forEach((b) => {
      if (a.height && a.top < b.top + 8 && b.top < a.top + 8) found.push("over");
    });
  });
});
return found;
"""


def test_everything_is_searched(open_page: Open) -> None:
    browser = open_page()
    found = report_data().searches.filter(pl.col("method") == "A*", pl.col("steps").list.len() > 0)
    [row] = found.head(1).iter_rows(named=True)
    [field] = find(browser, "#find")
    field.send_keys(row["problem_id"][:12])
    assert len(visible(browser, ".pick")) == 1
    field.clear()
    field.send_keys(row["steps"][0].strip())
    assert len(visible(browser, ".pick")) >= 1
    prompts = {tree["text"] for tree in row["nodes"]}
    rare = max(prompts - {row["prompt"]} - set(row["steps"]), key=len).strip()
    field.clear()
    field.send_keys(rare)
    before = len(visible(browser, ".pick"))
    find(browser, "#deep")[0].click()
    wait(browser, "return document.getElementById('count').innerText.includes('problems')")
    assert len(visible(browser, ".pick")) >= max(1, before)
    assert complaints(browser) == []


@pytest.mark.parametrize("name", ["split", "missing"])
def test_trees_beside_the_page_come_when_they_are_wanted(open_page: Open, name: str) -> None:
    browser = open_page(name)
    script = "return Array.from(document.scripts).filter(s => s.src).length"
    assert browser.execute_script(script) == 1  # of the first problem
    if name == "missing":
        assert "does not lie beside this page" in texts(browser, ".panel .notice")[0]
        return
    pick(browser, 19)
    assert browser.execute_script(script) == 2
    assert visible(browser, ".tree .row") and complaints(browser) == []
    find(browser, "#deep")[0].click()
    wait(browser, "return document.getElementById('count').innerText === '20 problems'")
    assert browser.execute_script(script) == 3


def test_a_link_leads_to_its_problem(open_page: Open, pages: dict[str, str]) -> None:
    browser = open_page()
    pick(browser, 7)
    prompt = texts(browser, ".panel h3")
    address = browser.current_url
    assert "#problem-" in address
    browser.get("about:blank")
    browser.get(address)
    wait(browser, "return document.documentElement.dataset.ready === '1'")
    assert texts(browser, ".panel h3") == prompt


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_switch_between_a_run_and_what_changed(
    open_page: Open, width: int, scheme: str
) -> None:
    browser = open_page("against", width, scheme)
    run, against = visible(browser, ".switch button")
    assert visible(browser, "#comparison") and not visible(browser, "#against")
    against.click()
    assert visible(browser, "#against") and not visible(browser, "#comparison")
    assert visible(browser, "#problems")
    needed = browser.execute_script("return document.documentElement.scrollWidth")
    assert needed <= width
    data = against_data().against
    assert data is not None
    row = next(each for each in data.rows if each["method"] == "A*")
    for which in ("better", "worse"):
        [button] = visible(browser, f"[data-change='{which} {row['place']}']")
        browser.execute_script("arguments[0].click()", button)
        assert len(visible(browser, ".pick")) == row[which] > 0
    browser.execute_script("arguments[0].click()", run)
    assert visible(browser, "#comparison") and not visible(browser, "#against")
    assert complaints(browser) == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_index_can_be_read(open_page: Open, width: int, scheme: str) -> None:
    browser = open_page("index", width, scheme)
    assert len(visible(browser, ".chart.trend")) == 1
    assert len(visible(browser, ".nights tbody tr")) == 7
    assert len(visible(browser, ".changed")) == 1
    needed = browser.execute_script("return document.documentElement.scrollWidth")
    assert needed <= width
    assert complaints(browser) == []


GRAVE = """
const done = arguments[arguments.length - 1];
axe.run().then((found) => done(found.violations
  .filter((v) => v.impact === "serious" || v.impact === "critical")
  .map((v) => [v.id, v.nodes.length, v.nodes[0].html])));
"""


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
@pytest.mark.parametrize("name", ["plain", "against", "comparison", "index"])
def test_nothing_serious_keeps_anybody_from_reading_it(
    open_page: Open, name: str, width: int, scheme: str
) -> None:
    browser = open_page(name, width, scheme)
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    program = Path(axe.__file__).with_name("axe.min.js")
    browser.execute_script(program.read_text(encoding="utf-8"))
    if name == "against":
        visible(browser, ".switch button")[1].click()
    assert browser.execute_async_script(GRAVE) == []
