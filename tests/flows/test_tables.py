from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console, RenderableType

from flows import tables

ROW: dict[str, Any] = {
    "method": "A*",
    "n": 500,
    "accuracy": 0.781,
    "low": 0.742,
    "high": 0.815,
    "policy_tokens": 391.4,
    "value_calls": 57.2,
    "seconds": 61.3,
    "difference": 0.2,
    "difference_low": 0.151,
    "difference_high": 0.249,
    "verdict": "better",
}


def text(table: RenderableType, width: int = 80) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def test_comparison_fits_80_columns_and_shows_every_figure() -> None:
    shown = text(tables.comparison_table([ROW]))
    for part in ("A*", "78.1 (74.2-81.5)", "391", "57", "61", "+20.0 (15.1, 24.9)", "better"):
        assert part in shown
    assert "500 held-out problems" in shown
    assert "..." not in shown and "…" not in shown


def test_baseline_has_no_difference() -> None:
    base = ROW | {"difference": None, "difference_low": None, "difference_high": None}
    shown = text(tables.comparison_table([base | {"verdict": "baseline"}]))
    assert "baseline" in shown
    assert "+" not in shown


def test_failed_searches_are_named() -> None:
    assert "failed: A* 3" in text(tables.comparison_table([ROW | {"failures": 3}]))


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"kind": "rollouts"}, "rollouts"),
        ({"kind": "pool", "rows_from": {"kind": "mcts"}}, "pool of kind mcts"),
        ({"kind": "labels", "rows_from": {"method": "soft"}}, "labels"),
        ({"kind": "labels", "rows_from": {"round": 2}}, "labels, round 2 of fitted Q iteration"),
    ],
)
def test_a_kind_says_which_of_several_it_is(manifest: dict[str, Any], words: str) -> None:
    assert tables.kind_in_words(manifest) == words


def test_plan_sums_what_is_still_to_generate() -> None:
    row = {"key": "0123456789", "shards": 2, "units": 10, "unit": "rollouts"}
    rows = [
        {**row, "stage": "rollouts", "state": "already there", "policy_tokens": 1000},
        {**row, "stage": "evaluation", "state": "1 of 2 shards there", "policy_tokens": 234},
    ]
    last = text(tables.plan_table(rows)).rstrip().splitlines()[-1]
    assert last.split()[-1] == "234"


def test_a_plan_shows_its_tokens_whole_in_80_columns() -> None:
    row = {"key": "0123456789", "state": "will run", "shards": 24}
    rows = [
        {**row, "stage": "qvm", "units": 252_000, "unit": "trajectories", "policy_tokens": 0},
        {**row, "stage": "comparison", "units": 6, "unit": "searches", "policy_tokens": 1_566_000},
        {**row, "stage": "comparison_report", "units": 1, "unit": "report", "policy_tokens": 0},
    ]
    shown = text(tables.plan_table(rows))
    assert shown.count("1,566,000") == 2 and "252,000" in shown and "trajectories" in shown


def test_a_plan_has_gpu_hours_where_a_speed_is_assumed_and_no_keys_where_none_are_known() -> None:
    row = {"key": "0123456789", "shards": 2, "units": 10, "unit": "rollouts", "state": "will run"}
    rows = [{**row, "stage": "rollouts", "policy_tokens": 3_600_000}]
    shown = text(tables.plan_table(rows, 250.0, keys=False))
    assert "01234567" not in shown and "key" not in shown
    assert shown.count("4.0") == 2
    assert "250 tokens per second and GPU" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.0, "1"),
        (0.123456, "0.1235"),
        (None, ""),
        ("a\n", "a"),
        ([1, "x"], '[1, "x"]'),
        ("a\nb", "a\nb"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("1\r2\t\x00\x9b", r"1\r2\t\x00\x9b"),
        ("\u202e\ud800", r"\u202e\ud800"),
        (["\x7f"], r'["\x7f"]'),
        ("Größe 数", "Größe 数"),
        ("y" * 60, "y" * 45 + "..."),
    ],
)
def test_cell(value: object, shown: str) -> None:
    assert tables.cell(value).plain == shown


@pytest.mark.parametrize("value", ["[red]x[/]", r"\[red]x", r"\[/]", "[/]", "\x1b[31mx", ":smile:"])
def test_a_cell_shows_text_and_obeys_nothing(value: str) -> None:
    console = Console(width=80, force_terminal=True, color_system="truecolor")
    with console.capture() as capture:
        console.print(tables.cell(value), highlight=False)
    assert capture.get() == value.replace("\x1b", r"\x1b") + "\n"


EVIL = ["majority [q]", "[/x]", "[red]x[/]", ":smile:", "a\x1b[2Jb", "\u202e"]


@pytest.mark.parametrize("evil", EVIL)
def test_no_table_obeys_what_is_in_it(evil: str) -> None:
    row = {"stage": evil, "key": evil, "shards": 1, "units": 1, "unit": evil, "policy_tokens": 0}
    inputs: dict[str, Any] = {"inputs": {evil: evil}, "files": [], "rows": 1}
    figures = {evil: 1, "table": [{evil: evil}]}
    made = [
        tables.comparison_table([ROW | {"method": evil, "failures": 1, "verdict": evil}]),
        tables.plan_table([{**row, "state": evil}]),
        tables.summary_table({"kind": evil, "key": evil, "created": evil, **inputs}),
        *tables.figures_tables(figures | {f"{evil}2": [{"a": "y" * 40}]}),
        tables.schema_table([[evil, evil]]),
        tables.rows_table([{evil: evil}]),
    ]
    shown = tables.escaped(evil)
    assert shown.isprintable()
    for table in made:
        assert shown in text(table, 300)


@pytest.mark.parametrize("evil", EVIL)
def test_what_is_said_is_shown_as_it_is(evil: str) -> None:
    console = Console(width=20, force_terminal=True, color_system="truecolor")
    with console.capture() as capture:
        tables.say(console, f"{evil} {'y' * 40}", "z")
    assert capture.get() == f"{tables.escaped(evil)} {'y' * 40}\nz\n"


def test_value_calls_are_called_so() -> None:
    shown = text(tables.comparison_table([ROW]))
    assert "value" in shown and "calls" in shown and "QVM" not in shown


def test_lists_of_rows_become_tables() -> None:
    figures = {"loss": 0.5, "heldout": [{"step": "first", "auc": 0.8}], "comparison": [ROW]}
    shown = "".join(text(table) for table in tables.figures_tables(figures))
    for part in ("loss", "heldout", "first", "0.8", "Comparison"):
        assert part in shown
