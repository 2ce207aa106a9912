from __future__ import annotations

from dataclasses import replace

import pytest

from qstar_core.evaluation.comparison_report import Sweep, render, view
from tests.evaluation.examples import HOSTILE, comparison_data
from tests.evaluation.test_report import Outline


@pytest.fixture(scope="module")
def page() -> str:
    return render(comparison_data())


def test_the_page_is_well_formed_and_has_no_script(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {attrs["href"] for tag, attrs in outline.tags if tag == "a"}
    assert links == {f"#{name}" for name in ids if name != "summary"}
    for tag, attrs in outline.tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "base"}
        assert "src" not in attrs and not any(name.startswith("on") for name in attrs)
    [policy] = [a["content"] for _, a in outline.tags if "http-equiv" in a]
    assert policy is not None and "script-src 'none'" in policy
    assert "url(" not in page and "@import" not in page


def test_every_budget_method_and_figure_is_there(page: str) -> None:
    data = comparison_data()
    assert data.seconds is not None
    for text in ("100 policy tokens", "800 policy tokens", "0.1 seconds", "0.8 seconds"):
        assert f'<h3 class="budget">{text}</h3>' in page
    for row in (*data.tokens.rows, *data.seconds.rows):
        assert f"{100 * row['accuracy']:.1f} %" in page and row["verdict"] in page
    assert page.count('class="chart curve sweep') == 4
    assert page.count('<g class="oracle">') == 4
    assert page.count('class="whisker"') == 2 * 2 * (1 + 4 + 4)
    assert "Holm-adjusted over all 8 comparisons" in page
    assert "Cost per 1,000" in page
    assert data.command in page


def test_the_oracle_is_what_was_generated(page: str) -> None:
    assert "Oracle pass@N: some generated trajectory was correct" in page
    assert "best-of-N generated a correct trajectory, whichever it returns" in page
    assert "finished trajectory" not in page


def test_without_a_price_there_is_no_cost_and_without_seconds_no_second_sweep() -> None:
    page = render(replace(comparison_data(), price=None, seconds=None))
    assert Outline(page).open == []
    assert "Cost per 1,000" not in page
    assert "budgets-seconds" not in page
    assert "Up to 2 shards ran side by side" in page
    assert page.count('class="chart curve sweep') == 4
    alone = render(replace(comparison_data(), seconds=None, workers=1))
    assert "side by side" not in alone


def test_rendering_is_deterministic(page: str) -> None:
    assert render(comparison_data()) == page


def test_hostile_names_are_only_ever_text() -> None:
    data = comparison_data()

    def spoil(sweep: Sweep) -> Sweep:
        rows = [{**row, "method": row["method"] + HOSTILE} for row in sweep.rows]
        reached = [{**row, "method": row["method"] + HOSTILE} for row in sweep.reached]
        return replace(sweep, rows=rows, reached=reached)

    assert data.seconds is not None
    page = render(
        replace(
            data,
            name=HOSTILE,
            command=HOSTILE,
            config={"field": HOSTILE},
            environment={HOSTILE: HOSTILE},
            tokens=spoil(data.tokens),
            seconds=spoil(data.seconds),
        )
    )
    outline = Outline(page)
    assert outline.open == []
    assert not {"img", "script"} & {tag for tag, _ in outline.tags}
    assert HOSTILE not in page


def test_failures_are_shown_in_front() -> None:
    data = comparison_data()
    outcomes = {**data.tokens.rows[0]["outcomes"], "timeout": 3}
    rows = [{**data.tokens.rows[0], "outcomes": outcomes}, *data.tokens.rows[1:]]
    page = render(replace(data, tokens=replace(data.tokens, rows=rows)))
    assert "counted as unsolved" in page
    assert "greedy: 3 timeout of 40 (budget 100 policy tokens)" in page


def test_seconds_over_the_budget_are_marked(page: str) -> None:
    mark = "took over 10 % more seconds than the budget"
    data = comparison_data()
    assert data.seconds is not None
    late = [{**row, "seconds": 99.0} for row in data.seconds.rows]
    marked = render(replace(data, seconds=replace(data.seconds, rows=late)))
    assert marked.count(mark) == 1 and marked.count(">*2.475<") == len(late)
    soon = [{**row, "seconds": 0.1} for row in data.seconds.rows]
    assert mark not in render(replace(data, seconds=replace(data.seconds, rows=soon)))


def test_equal_accuracy_compares_what_the_sweep_is_of(page: str) -> None:
    tokens, seconds = page.split('id="reach-seconds"')
    assert "Times fewer tokens" in tokens and "Times smaller budget" not in tokens
    assert "Times smaller budget" in seconds and "Times fewer tokens" not in seconds


def test_an_empty_comparison() -> None:
    empty = Sweep("tokens", [], [])
    page = render(replace(comparison_data(), tokens=empty, seconds=None, lineage=[]))
    assert Outline(page).open == []
    assert "nothing to compare" in page


def test_the_largest_budget_of_the_baseline_is_shown_first() -> None:
    shown = view(comparison_data().tokens, "holm")
    assert {row["target_budget"] for row in shown["final"]} == {800.0}
    assert {row["target_budget"] for row in shown["earlier"]} == {100.0, 200.0, 400.0}
    assert [budget for budget, _ in shown["budgets"]] == [100.0, 200.0, 400.0, 800.0]


def test_problems_without_a_solution_are_said(page: str) -> None:
    said = "458 of 1,820 test problems have no solution"
    assert said not in page
    told = render(replace(comparison_data(), unsolvable=said))
    assert said in told and Outline(told).open == []
