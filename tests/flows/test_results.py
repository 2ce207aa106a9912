"""``qstar results`` on a tiny run, local and on S3, and the examples of docs/results.md."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import polars as pl
import pytest

from flows import commands
from flows.results import show_results
from qstar_core.errors import UserError
from qstar_core.evaluation.results import COLUMNS, Wanted
from qstar_core.store import dataset, open_store, scan

from .conftest import ROOT, Finished, Qstar, published

DOCUMENT = ROOT / "docs" / "results.md"
EXAMPLE = re.compile(r"<!-- (polars|duckdb) -->\n\n((?:    .*\n|\n)+)")


def evaluation(out: Path) -> str:
    [found] = (out / "evaluation").glob("*/manifest.json")
    return str(found.parent)


def uploaded(folder: str, bucket: str) -> str:
    uri = f"{bucket}/tiny/evaluation/{Path(folder).name}"
    store = open_store(uri)
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            store.replace(str(path.relative_to(folder)), path.read_bytes())
    return uri


def test_all_formats_from_folder_evaluation_and_report(finished: Finished, qstar: Qstar) -> None:
    uri = evaluation(finished.out)
    [report] = (finished.out / "report").glob("*/manifest.json")
    shown = qstar("results", finished.out)
    assert shown.returncode == 0, shown.stderr
    assert "12 results of 4 problems" in shown.stdout and uri in shown.stdout
    told = json.loads(qstar("results", report.parent, "--format", "json").stdout)
    assert [set(row) for row in told] == [set(COLUMNS)] * 12
    table = csv.DictReader(io.StringIO(qstar("results", uri, "--format", "csv").stdout))
    assert [row["problem_id"] for row in table] == [row["problem_id"] for row in told]


def test_filters_and_limit_of_the_command_line(finished: Finished, qstar: Qstar) -> None:
    given = ("--method", "A*", "--outcome", "wrong", "--outcome", "no_answer", "--limit", "2")
    told = json.loads(qstar("results", finished.out, *given, "--format", "json").stdout)
    assert len(told) <= 2 and {row["method"] for row in told} <= {"A*"}
    refused = qstar("results", finished.out, "--only", "B*")
    assert refused.returncode == 2 and "one of: greedy, best-of-N, A*" in refused.stderr


def test_what_is_no_evaluation_is_refused(finished: Finished) -> None:
    [rollouts] = (finished.out / "rollouts").glob("*/manifest.json")
    with pytest.raises(UserError, match="no scored results"):
        show_results(commands.console(), str(rollouts.parent), Wanted(), "json", None)


def test_results_from_s3(
    finished: Finished, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = uploaded(evaluation(finished.out), bucket)
    show_results(commands.console(), uri, Wanted(methods=["greedy"]), "json", None)
    assert len(json.loads(capsys.readouterr().out)) == 4
    show_results(commands.console(), f"{bucket}/tiny", Wanted(), "table", 3)
    assert "3 of 12 results" in capsys.readouterr().out


def test_hostile_text_is_shown_not_obeyed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = {**dict.fromkeys(COLUMNS, "\x1b[2J[red]x"), "outcome": "wrong", "policy_tokens": 1}
    frame = pl.DataFrame([row])
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("flows.results.searches", lambda run, budget: run)
    monkeypatch.setattr("flows.results.scan", lambda uri: frame.lazy())
    for form in ("table", "json"):
        show_results(commands.console(), str(tmp_path), Wanted(), form, None)
        shown = capsys.readouterr().out
        assert "\x1b[2J" not in shown and "[red]x" in shown


def test_a_comparison_has_its_results_at_each_budget(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = scan(evaluation(finished.out)).collect()
    uri = str(tmp_path / "comparison" / "k")
    budgets = [rows.with_columns(budget=pl.lit(b), policy_tokens=int(b)) for b in (100.0, 200.0)]
    published(uri, pl.concat(budgets).to_arrow(), kind="comparison", uri=uri, figures={})
    for budget, taken, other in ((None, 200, 100), (100.0, 100, 200)):
        show_results(commands.console(), uri, Wanted(), "json", None, budget)
        told = json.loads(capsys.readouterr().out)
        assert [(row["policy_tokens"], row["budget"]) for row in told] == [(taken, taken)] * 12
        show_results(commands.console(), uri, Wanted(), "table", None, budget)
        said = " ".join(capsys.readouterr().out.split())
        assert f"12 results of 4 problems at budget {taken} (others: --budget {other})" in said
        assert ("--budget 100 (its search tree)" in said) is (budget is not None)
    with pytest.raises(UserError, match="no budget 300"):
        show_results(commands.console(), uri, Wanted(), "json", None, 300.0)
    with pytest.raises(UserError, match="one budget only"):
        show_results(commands.console(), evaluation(finished.out), Wanted(), "json", None, 100.0)


def test_the_evaluation_has_a_card(finished: Finished) -> None:
    uri = evaluation(finished.out)
    manifest = dataset.read_manifest(uri)
    assert manifest is not None
    assert "CARD.md" in {entry["name"] for entry in manifest["files"]}
    card = (Path(uri) / "CARD.md").read_text()
    assert "# Scored results: countdown" in card and "| best-of-N |" in card
    assert "qstar results ." in card and "| outcome | string |" in card
    assert all(f"| {row['method']} |".replace("*", r"\*") in card
               for row in manifest["figures"]["comparison"])  # fmt: skip


@pytest.mark.parametrize("where", ["local", "s3"])
def test_the_examples_of_the_document(finished: Finished, bucket: str, where: str) -> None:
    folder = evaluation(finished.out)
    uri = folder if where == "local" else uploaded(folder, bucket)
    known = {"uri": uri, "folder": folder}
    examples = EXAMPLE.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert [kind for kind, _ in examples] == ["polars"] * 2 + ["duckdb"] * 3
    found = {}
    for number, (_, text) in enumerate(examples):
        code = "\n".join(line[4:] for line in text.splitlines())
        exec(compile(code, f"docs/results.md, example {number}", "exec"), known)
        found[number] = {
            name: known[name] for name in ("table", "gained", "nodes") if name in known
        }
    accuracies = dict(scan(uri).group_by("method").agg(
        (pl.col("outcome") == "correct").mean()).collect().iter_rows())  # fmt: skip
    assert {row["method"]: row["accuracy"] for row in found[0]["table"].to_dicts()} == accuracies
    assert {method: share for method, share, _ in found[2]["table"]} == accuracies
    assert len(found[3]["gained"]) == len(found[1]["gained"])
    assert isinstance(found[4]["nodes"], list)
