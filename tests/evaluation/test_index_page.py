from __future__ import annotations

from typing import Any

from qstar_core.evaluation.index_page import render, trend
from tests.evaluation.examples import HOSTILE, report_data
from tests.evaluation.test_report import Outline

CHANGE = {"field": "labels.method", "this": "soft", "other": "best_of_rollouts"}


def nights(count: int = 7, **given: Any) -> list[dict[str, Any]]:
    rows = report_data().comparison
    return [
        {
            "name": "demo",
            "date": f"2025-06-0{number}",
            "created": f"2025-06-0{number}T02:00:00+00:00",
            "key": f"{number:024x}",
            "page": f"report/{number:024x}/report.html",
            "methods": [{**row, "accuracy": row["accuracy"] * number / 7} for row in rows],
            "note": "",
            "changes": [CHANGE] if number == 4 else [],
            **given,
        }
        for number in range(1, count + 1)
    ]


def page(**given: Any) -> str:
    found = {"nights": {"demo": nights()}, "comparisons": [], "unread": [], **given}
    return render(found, "s3://qstar/demo", "2025-06-08T06:00:00+00:00")


def test_the_page_has_a_trend_a_row_per_run_and_links() -> None:
    shown = page()
    outline = Outline(shown)
    assert outline.open == []
    links = [attrs["href"] for tag, attrs in outline.tags if tag == "a"]
    assert [link for link in links if str(link).endswith("report.html")] == [
        night["page"] for night in nights()[::-1]
    ]
    assert shown.count('class="chart curve trend') == 2 and "<script" not in shown
    [policy] = [a["content"] for _, a in outline.tags if "http-equiv" in a]
    assert policy is not None and "script-src 'none'" in policy


def test_a_change_is_named_and_marked() -> None:
    shown = page()
    assert "<code>labels.method</code> best_of_rollouts → soft" in shown
    assert shown.count('class="changed"') == 2  # in both sizes of the drawing
    assert "The configuration changed before run 4." in shown


def test_texts_are_only_texts() -> None:
    change = {"field": HOSTILE, "this": HOSTILE, "other": HOSTILE}
    found = {HOSTILE: nights(2, changes=[change], date=HOSTILE, note=HOSTILE)}
    shown = page(nights=found, unread=[HOSTILE])
    assert HOSTILE not in shown and Outline(shown).open == []


def test_runs_without_figures_or_report() -> None:
    bare = nights(1, methods=[], page="")
    shown = page(nights={"demo": bare}, comparisons=[
        {"name": "sweep", "created": "2025-06-01", "key": "f" * 24, "page": "comparison_report/x"}
    ])  # fmt: skip
    assert Outline(shown).open == [] and "none, 00000000" in shown and "sweep, ffffffff" in shown
    assert trend(bare) == ["1 runs."]


def test_the_trend_in_words() -> None:
    said = trend(nights())
    assert said[0].startswith("Newest: A* ") and "points since the first of 7 runs." in said[1]
    assert trend(nights(3))[-1] == "The configuration never changed."
