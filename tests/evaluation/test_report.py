from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest

from qstar_core.evaluation.compare import accuracy_by_tokens, compare
from qstar_core.evaluation.explorer import unpacked
from qstar_core.evaluation.report import choices, flatten, method_colours, render
from qstar_core.evaluation.wording import MISSING, unsolvable
from tests.evaluation.examples import (
    HELD_OUT,
    HOSTILE,
    LABELS,
    against_data,
    hostile_data,
    report_data,
    searches,
)

VOID = {"meta", "input", "br"}
DATA = re.compile(r'<script type="application/octet-stream" id="([^"]+)">([^<]*)</script>')


def packed(page: str) -> dict[str, Any]:
    """What the page's script reads, by the ids of the blocks."""
    return {name: unpacked(text) for name, text in DATA.findall(page)}


class Outline(HTMLParser):
    """Tags and attributes of a page; fails on a tag that is closed in the wrong order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page() -> str:
    return render(report_data())


def test_the_page_is_well_formed_and_its_ids_are_unique(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {attrs["href"] for tag, attrs in outline.tags if tag == "a"}
    assert links <= {f"#{name}" for name in ids}


def test_nothing_is_fetched(page: str) -> None:
    for tag, attrs in Outline(page).tags:
        assert tag not in {"link", "img", "iframe", "object", "base"}
        assert "src" not in attrs and not any(name.startswith("on") for name in attrs)
    assert "url(" not in page and "@import" not in page
    assert "&#39;self&#39;" not in page  # no script beside it


def test_the_policy_names_the_hash_of_the_only_script(page: str) -> None:
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [a["content"] for _, a in Outline(page).tags if "http-equiv" in a]
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_every_section_and_figure_is_there(page: str) -> None:
    data = report_data()
    names = ("comparison", "tokens", "value-model", "labels", "cost", "problems", "provenance")
    for name in names:
        assert f'<section id="{name}"' in page
    for row in data.comparison:
        assert f"{100 * row['accuracy']:.1f} %" in page and row["verdict"] in page
    for stage in data.lineage:
        assert stage["key"] in page
    for text in (data.key, data.command, *data.fingerprints.values(), "2.13.0", "&#34;seed&#34;"):
        assert text in page
    assert len(packed(page)["heads"]["problems"]) == 20
    assert page.count("<polyline") == 0 and page.count('class="chart curve') == 2


def test_every_node_of_every_tree_is_in_the_page(page: str) -> None:
    nodes = int(report_data().searches["nodes"].list.len().sum())
    trees = [result["tree"] for problem in packed(page)["part-0"] for result in problem]
    assert sum(len(tree["text"]) for tree in trees) == nodes


def test_hostile_text_is_only_ever_text() -> None:
    page = render(hostile_data())
    outline = Outline(page)
    assert outline.open == []
    assert "img" not in {tag for tag, _ in outline.tags}
    assert HOSTILE not in page
    assert page.count("</script>") == 3  # the list, the trees, the program
    assert HOSTILE in packed(page)["heads"]["problems"][0][1]


def test_rendering_is_deterministic(page: str) -> None:
    assert render(report_data()) == page


def test_failures_are_shown_in_front() -> None:
    frame = searches().with_columns(
        outcome=pl.when(pl.col("method") == "A*", pl.int_range(pl.len()) % 7 == 0)
        .then(pl.lit("grader_error"))
        .otherwise(pl.col("outcome"))
    )
    rows = compare(frame, dict.fromkeys(["greedy", "best-of-N", "A*"], 1.0), "best-of-N")
    page = render(replace(report_data(), comparison=rows, curve=accuracy_by_tokens(frame)))
    assert "counted as unsolved" in page
    assert f"{rows[-1]['failures']} grader error of {HELD_OUT}" in page


def test_an_empty_report() -> None:
    data = report_data()
    empty = replace(
        data, comparison=[], curve=[], searches=data.searches.clear(), qvm={}, lineage=[]
    )
    page = render(empty)
    assert Outline(page).open == []
    assert "nothing to compare" in page and "No problems were searched" in page
    assert "not trained in this run" in page


def test_undefined_figures_are_dashes() -> None:
    figures = {"auc_truth": None, "auc_label": None, "brier": None, "ece": None}
    heldout = [{"step": "first", "n": 3, "positives": 0, **figures}]
    page = render(replace(report_data(), qvm={"heldout": heldout}))
    assert page.count(f'<td class="n">{MISSING}</td>') >= 3


def test_astar_and_the_baseline_have_the_first_colours() -> None:
    colours = method_colours(report_data().comparison)
    assert colours == {"A*": 1, "best-of-N": 2, "greedy": 3}


def test_flattening() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": True}}, "e": "x"}) == [
        ("a.b", "1"),
        ("a.c.d", "True"),
        ("e", "x"),
    ]


def test_a_value_model_at_chance_is_said_beside_its_figures(page: str) -> None:
    data = report_data()
    low = [{**row, "auc_truth": 0.52} for row in data.qvm["heldout"]]
    spoilt = render(replace(data, qvm={**data.qvm, "heldout": low}))
    assert "no better than chance: held-out AUC first (0.52), second (0.52)" in spoilt
    assert "no better than chance" not in page
    assert Outline(spoilt).open == []


def test_calibration_and_regret_stand_beside_the_figures(page: str) -> None:
    qvm = report_data().qvm
    told = qvm["calibration"]
    assert f"temperature scaling (T = {told['temperature']:.3f})" in page
    assert '<th scope="col" class="n">before</th>' in page
    assert page.count('class="before"') == 1 and "grey line is before calibration" in page
    assert "Regret: what is lost, in exact Q*" in page
    for row in choices(qvm["regret"]):
        low, high = row["intervals"]["regret"]
        assert f"<b>{row['regret']:.3f}</b> ({low:.3f} to {high:.3f})" in page
        assert 0 <= row["regret"] <= row["regret_random"]


def test_regret_is_against_the_labels_where_the_truth_is_not_known() -> None:
    data = report_data()
    unknown = [{**row, "truth": None} for row in data.qvm["regret"]]
    assert all(
        row["regret"] == own["regret"] for row, own in zip(choices(unknown), unknown, strict=True)
    )
    page = render(replace(data, qvm={**data.qvm, "regret": unknown}))
    assert "Regret: what is lost, in labels" in page
    none = [{**row, "states": 0, "truth": None} for row in unknown]
    assert choices(none) == []
    assert "Regret" not in render(replace(data, qvm={**data.qvm, "regret": none}))


def test_figures_of_an_older_run_have_no_calibration() -> None:
    data = report_data()
    old = {name: data.qvm[name] for name in ("heldout", "reliability")}
    page = render(replace(data, qvm=old))
    assert Outline(page).open == []
    assert "before calibration" not in page and "Regret" not in page


def test_why_no_calibration_was_fitted_is_said() -> None:
    data = report_data()
    told = {**data.qvm["calibration"], "skipped": HOSTILE}
    page = render(replace(data, qvm={**data.qvm, "calibration": told}))
    assert "No calibration was fitted" in page and HOSTILE not in page


def test_problems_without_a_solution_are_said_above_the_table(page: str) -> None:
    said = unsolvable({"test": 1820, "unsolvable": 458})
    assert said not in page
    told = render(replace(report_data(), unsolvable=said))
    assert told.index(said) < told.index('<section id="comparison"')
    assert Outline(told).open == []


def test_the_summary_is_in_plain_words_too(page: str) -> None:
    rows = {row["method"]: row for row in report_data().comparison}
    best = rows["A*"]["accuracy"]
    assert f"Of 100 problems A* solves about {100 * best:.0f}" in page
    assert "problems were solved by A* and not by best-of-N" in page
    assert "hance" in page  # how sure it is, in words


def test_the_labels_are_audited(page: str) -> None:
    assert "16 % of the good steps 1 have label 0" in page and "qstar run CONFIG" in page
    assert "500 of 900" in page and "best of rollouts" in page
    none = render(replace(report_data(), labels=None))
    assert "there is nothing to audit here" in none and Outline(none).open == []
    good = {**LABELS, "own": None, "warnings": []}
    fine = render(replace(report_data(), labels=good))
    assert "Nothing was found against these labels" in fine and Outline(fine).open == []


def test_the_cost_is_summed_and_priced(page: str) -> None:
    assert "1,187,960" in page and "<b>0.59</b>" in page
    free = render(replace(report_data(), price=None))
    assert "per million policy tokens" not in free
    assert "are not known" in render(replace(report_data(), costs=[]))


def test_the_switch_is_there_only_against_another_run(page: str) -> None:
    assert 'class="switch"' not in page and 'id="changed"' not in page
    shown = render(against_data())
    assert Outline(shown).open == [] and HOSTILE not in shown
    for text in ("Against demo 77aa01de", "labels.method", "best_of_rollouts", "made anew".title()):
        assert text.lower() in shown.lower()
    changes = [row[5] for row in packed(shown)["heads"]["problems"]]
    assert {tuple(change) for change in changes} <= {(0, 0, 0), (0, 0, 1), (0, 0, -1)}
    assert any(any(change) for change in changes)


def test_what_does_not_fit_lies_beside_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qstar_core.evaluation.explorer.INLINE_BYTES", 0)
    monkeypatch.setattr("qstar_core.evaluation.explorer.PART", 8)
    beside: dict[str, str] = {}
    page = render(report_data(), beside, "mine")
    assert list(beside) == [f"mine-trees-{k:04d}.js" for k in range(3)]
    assert set(packed(page)) == {"heads"}
    [policy] = [a["content"] for _, a in Outline(page).tags if "http-equiv" in a]
    assert policy is not None and " 'self'; style-src" in policy
    for number, text in enumerate(beside.values()):
        assert re.fullmatch(rf'qstarPart\({number},"[A-Za-z0-9+/=]+"\);\n', text)
