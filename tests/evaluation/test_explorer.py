from __future__ import annotations

import math

import polars as pl

from qstar_core.evaluation.compare import OUTCOMES
from qstar_core.evaluation.explorer import CHOSEN, END, RIGHT, WRONG, Explorer, explorer, unpacked
from tests.evaluation.examples import SHOWN, report_data

METHODS = [{"name": name, "colour": k} for k, name in enumerate(("greedy", "best-of-N", "A*"), 1)]


def made(searches: pl.DataFrame, shown: list[str] | None = None, **given: object) -> Explorer:
    chosen = searches["problem_id"].unique().to_list() if shown is None else shown
    kept = {"headline": "A*", "baseline": "best-of-N", **given}
    return explorer(searches, chosen, METHODS, **kept)  # type: ignore[arg-type]


def test_the_list_has_every_problem_in_order_with_its_results() -> None:
    data = report_data()
    heads = unpacked(made(data.searches).heads)
    assert (heads["headline"], heads["baseline"], heads["files"]) == (2, 1, {})
    assert [row[0] for row in heads["problems"]] == list(data.shown)
    for row in data.searches.iter_rows(named=True):
        head = next(each for each in heads["problems"] if each[0] == row["problem_id"])
        place = ("greedy", "best-of-N", "A*").index(row["method"])
        outcome, answer, tokens, steps = head[3][place]
        assert (OUTCOMES[outcome], answer, tokens) == (
            row["outcome"],
            row["answer"],
            row["policy_tokens"],
        )
        assert len(steps) == len(row["steps"])


def test_parents_come_before_their_children_and_the_likeliest_child_first() -> None:
    searches = report_data().searches
    [part] = made(searches).inline
    rows = searches.rows_by_key("problem_id", named=True)
    for problem, details in zip(report_data().shown, unpacked(part), strict=True):
        for row, result in zip(rows[problem], details, strict=True):
            tree, nodes = result["tree"], {node["node"]: node for node in row["nodes"]}
            assert sorted(tree["id"]) == sorted(nodes)
            assert all(up < place for place, up in enumerate(tree["up"]))
            for place, number in enumerate(tree["id"]):
                node, flags = nodes[number], tree["flags"][place]
                assert (
                    bool(flags & CHOSEN) == node["chosen"] and bool(flags & END) == node["terminal"]
                )
                assert (bool(flags & RIGHT), bool(flags & WRONG)) == (
                    node["correct"] is True,
                    node["correct"] is False,
                )
                if node["f"] is not None:
                    assert math.isclose(tree["f"][place], node["f"], rel_tol=1e-3)


def test_problems_beyond_those_shown_are_listed_without_trees() -> None:
    data = report_data()
    found = made(data.searches, list(data.shown[:3]))
    heads = unpacked(found.heads)
    assert (found.problems, found.trees) == (SHOWN, 3)
    assert [row[4] for row in heads["problems"]] == [0, 1, 2] + [-1] * (SHOWN - 3)


def test_a_search_that_failed_has_no_tree_but_its_reason() -> None:
    frame = (
        report_data()
        .searches.head(1)
        .with_columns(
            outcome=pl.lit("search_error"),
            steps=pl.lit([], dtype=pl.List(pl.String)),
            score=pl.lit(None, dtype=pl.Float64),
            nodes=pl.col("nodes").list.head(0),
            reason=pl.lit("RuntimeError: out of \x1b[2J memory"),
        )
    )
    [part] = made(frame).inline
    [[result, *others]] = unpacked(part)
    assert result["tree"] is None and result["score"] is None and others == [None, None]
    assert result["reason"] == "RuntimeError: out of \N{REPLACEMENT CHARACTER}[2J memory"


def test_the_column_reason_may_be_missing() -> None:
    [part] = made(report_data().searches.drop("reason")).inline
    assert unpacked(part)[0][0]["reason"] == ""


def test_changes_stand_at_their_methods() -> None:
    data = report_data()
    first = data.shown[0]
    heads = unpacked(made(data.searches, changes={first: {"A*": -1, "gone": 1}}).heads)
    assert heads["problems"][0][5] == [0, 0, -1] and heads["problems"][1][5] == [0, 0, 0]
