from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from qstar_core.audit.card import card, inline
from qstar_core.config import CardConfig
from qstar_core.domains import countdown
from qstar_core.stage import kind_of
from qstar_core.store import dataset
from tests.audit.examples import BAD, END, GOOD, LOSE, PROBLEM, WIN, key_of, path, write_run

PLAYS = {PROBLEM: [[GOOD, WIN], [BAD, END], [GOOD, LOSE], [GOOD, WIN]]}
OTHER = [countdown.make_problem([2, 3, 4], 9)]


def made(
    labels: str, stage: str, about: CardConfig | None = None, problems: str = "key", **head: Any
) -> str:
    """The card of a data set of `write_run`, whose problems may have another key."""
    out = labels.removesuffix("/labels/key")
    uri = f"{out}/{kind_of(stage)}/{key_of(stage)}"
    manifest = {**(dataset.read_manifest(uri) or {}), **head}
    manifest["inputs"] = {**manifest["inputs"], "problems": problems}
    inputs = {name: f"{out}/{kind_of(name)}/{key}" for name, key in manifest["inputs"].items()}
    return card(manifest, about or CardConfig(), dataset.data_files(uri), inputs)


def front(text: str) -> dict[str, Any]:
    """The YAML at the head of a card."""
    _, head, _ = text.split("---\n", 2)
    loaded: dict[str, Any] = yaml.safe_load(head)
    return loaded


def test_the_card_of_labels_has_counts_columns_and_how_to_go_on(tmp_path: Path) -> None:
    text = made(write_run(tmp_path, PLAYS, test=OTHER), "labels")
    assert "# Q-labels: countdown" in text
    assert "| 1 | 4 | 75.0 % | 1 0 0 0 0 0 0 0 0 3 |" in text
    assert "5 distinct actions, 0 of them" in text
    assert "1 training problems: 0 questions stand more than once" in text
    assert "| made from | rollouts key |" in text
    assert "| step\\_index | int32 |" in text
    assert "No licence is stated" in text
    for command in ("qstar audit .", "qstar verify .", "qstar reproduce manifest.json"):
        assert command in text
    assert '"policy": "policy"' in text and "| policy | `policy` |" in text
    assert front(text)["configs"][0]["data_files"] == "*.parquet"


def test_the_card_of_rollouts_counts_outcomes(tmp_path: Path) -> None:
    text = made(write_run(tmp_path, PLAYS), "rollouts")
    assert "# Rollouts: countdown" in text
    assert "| correct | 2 | 50.0 % |" in text and "| wrong | 2 | 50.0 % |" in text
    assert "1 problems have 4 trajectories" in text
    assert "qstar audit" not in text


def test_the_policies_of_imported_rollouts_are_those_of_their_rows(tmp_path: Path) -> None:
    labels = write_run(tmp_path, PLAYS)
    rollouts = made(labels, "rollouts", rows_from={"import_file": "abc"})
    assert "| policy | `policy` |" in rollouts
    file = tmp_path / "many.parquet"
    names = [f"imported:{k}" for k in range(7)]
    pl.DataFrame({"policy": names, "outcome": "correct", "problem_id": "p"}).write_parquet(file)
    manifest = {**(dataset.read_manifest(labels.replace("labels", "rollouts")) or {})}
    manifest["rows_from"] = {"import_file": "abc"}
    text = card(manifest, CardConfig(), [str(file)], {})
    assert "imported:0, imported:1, imported:2, imported:3, imported:4 and 2 more" in text


def test_a_pool_and_missing_problems_are_said(tmp_path: Path) -> None:
    rows = [path(PROBLEM, [GOOD, WIN], 0, source="states", prefix_steps=1)]
    labels = write_run(tmp_path, PLAYS, pools={"states": rows})
    text = made(labels, "pool_states", figures={"quarantined": [{"prompt": "x", "error": "y"}]})
    assert "# Pool of rollouts: countdown" in text
    assert "1 problems could not be sampled" in text


def test_equal_rows_have_equal_cards_wherever_and_whenever(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        labels = write_run(tmp_path / name, PLAYS, test=OTHER)
        head = {"created": name, "environment": {"host": name}, "uri": name}
        texts.append([made(labels, stage, **head) for stage in ("rollouts", "labels")])
    assert texts[0] == texts[1]
    assert str(tmp_path) not in texts[0][1]


@pytest.mark.parametrize("stage", ["rollouts", "labels"])
def test_held_out_problems_are_in_no_card(tmp_path: Path, stage: str) -> None:
    texts = []
    for name, test in (("a", OTHER), ("b", [PROBLEM, *OTHER])):
        labels = write_run(tmp_path / name, PLAYS, test=test)
        problems = tmp_path / name / "problems"
        (problems / "key").rename(problems / name)
        texts.append(made(labels, stage, problems=name))
    assert texts[0] == texts[1]
    assert ("1 training problems" in texts[0]) == (stage == "labels")


def test_licence_and_description_are_those_of_the_configuration(tmp_path: Path) -> None:
    about = CardConfig(licence="CC-BY-4.0", description="For *tests*.\n\nTwo paragraphs.\x1b[2J")
    text = made(write_run(tmp_path, PLAYS), "labels", about)
    assert front(text)["license"] == "CC-BY-4.0"
    assert "Licence: CC-BY-4.0." in text
    assert "For *tests*.\n\nTwo paragraphs." in text and "\x1b" not in text
    hostile = made(write_run(tmp_path / "h", PLAYS), "labels", CardConfig(licence='"\n---\n| x'))
    assert front(hostile)["license"] == '"\n---\n| x'


def test_descriptions_of_columns_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "part.parquet"
    field = pa.field("outcome", pa.string(), metadata={"description": "What | was found"})
    ids = pa.array(["p"])
    schema = pa.schema([field, pa.field("problem_id", pa.string())])
    pq.write_table(pa.table([pa.array(["correct"]), ids], schema=schema), file)
    head = {"kind": "rollouts", "key": "k", "rows_from": {"seed": "`"}, "inputs": {}, "figures": {}}
    text = card(
        {**head, "config": {"domain": {"name": "countdown"}}}, CardConfig(), [str(file)], {}
    )
    assert "| outcome | string | What \\| was found |" in text
    block = text.split("````json\n")[1].split("\n````")[0]
    assert json.loads(block) == {"rollouts": {"seed": "`"}}
    assert "`" not in block


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\n| b", "a \\| b"), ("<b> *x* [y](z)", "\\<b\\> \\*x\\* \\[y\\](z)"), ("\x1b", "\ufffd")],
)
def test_text_in_a_cell_is_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert inline(text) == shown


def test_rows_are_as_polars_reads_them(tmp_path: Path) -> None:
    labels = write_run(tmp_path, PLAYS)
    assert f"| rows | {len(pl.scan_parquet(f'{labels}/*.parquet').collect())} |" in made(
        labels, "labels"
    )
