from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flows import value_models
from flows.cli import app
from flows.value_models import calibration_in_words, interval, model_tables, models_table, short
from qstar_core.store import dataset
from tests.flows.test_tables import EVIL, text
from tests.models import tiny_qvm
from tests.values.runs import trained
from tests.values.test_side_by_side import manifest, means, model_row


def say(*arguments: str, width: int = 200) -> str:
    """What a command prints."""
    found = CliRunner(env={"COLUMNS": str(width)}).invoke(app, list(arguments))
    assert found.exit_code == 0, found.output
    return found.output


def test_one_model_has_its_figures_as_tables() -> None:
    uri = trained()
    figures = (dataset.read_manifest(uri) or {})["figures"]
    shown = say("show", uri, width=80)
    for part in ("Held-out steps", "Choice among siblings", "Reliability", "against the exact Q*"):
        assert part in shown
    [first, *_] = figures["heldout"]
    assert short(first["auc_truth"]) in shown and interval(first, "ece") in shown
    told = figures["calibration"]
    assert f"T = {told['temperature']:.3f}, fitted on {told['problems_fitted']}" in shown
    tables = "".join(text(table) for table in model_tables(figures))
    assert "…" not in tables  # all of it fits into 80 columns
    assert "trajectories" in shown and "overall" not in shown and "reliability_before" not in shown


def test_a_model_that_comes_with_qstar_is_shown_by_name() -> None:
    shown = say("show", "reference:countdown-qvm")
    assert "9c26696e899758c7f92654c6" in shown and "Held-out steps" in shown
    assert "Choice among siblings" not in shown  # it was not measured


def test_several_models_are_rows_of_one_table() -> None:
    uris = [trained(), trained("mse"), "reference:countdown-qvm"]
    shown = say("show", *uris, width=60)
    [*_, third] = rows = [line for line in shown.splitlines() if " best_of_rollouts " in line]
    assert [row.split()[1] for row in rows] == ["bce", "mse", "bce"]
    assert third.split()[4] == "4,981" and third.endswith("-")
    assert "(gamma 0.9)" in shown and "not measured when this model was trained" in shown
    found = json.loads(say("show", *uris, "--json"))
    assert [row["loss"] for row in found["models"]] == ["bce", "mse", "bce"]
    assert found["models"][0]["figures"]["heldout"][0]["step"] == "first"
    assert found["models"][0]["labels"] == "best_of_rollouts" and found["means"] == []
    [alone] = json.loads(say("show", uris[0], "--json"))["models"]
    assert alone == found["models"][0]


def test_other_data_sets_are_not_put_beside_models() -> None:
    uri = trained()
    labels = uri.replace("/qvm/", "/labels/").rpartition("/")[0]
    [other] = [str(path) for path in Path(labels).iterdir()]
    found = CliRunner().invoke(app, ["show", uri, other])
    assert found.exit_code == 2 and "is of kind labels" in " ".join(found.output.split())


def test_a_checkpoint_without_a_manifest_has_nothing_to_measure(tmp_path: Path) -> None:
    shutil.copytree(tiny_qvm(), tmp_path / "model")
    for arguments in (["show"], ["show", "--json"]):
        found = CliRunner().invoke(app, [*arguments, str(tmp_path / "model")])
        assert found.exit_code == 2
        assert "no labels to measure it against" in " ".join(found.output.split())
        assert "--set qvm.path=" in found.output


def test_means_over_seeds_stand_below() -> None:
    rows = [model_row(manifest(seed)) for seed in (0, 1, 2)]
    shown = text(models_table(rows, means(rows)), 120)
    mean, spread = (
        line.split() for line in shown.splitlines() if line.startswith(("mean", "  sd"))
    )
    assert mean[:4] == ["mean", "bce", "best_of_rollouts", "3"] and ".810" in mean
    assert spread[:2] == ["sd", ".010"]
    assert "against Q*" in shown


def test_several_domains_have_tables_of_their_own() -> None:
    row = {"step": "all", "n": 3, "auc_truth": None, "auc_label": 0.5, "brier": 0.1, "ece": 0.1}
    figures = {"heldout": [row], "by_domain": [{**row, "domain": name} for name in ("[a]", "b")]}
    shown = "".join(text(table) for table in model_tables(figures))
    assert "Held-out steps of [a]" in shown and "Held-out steps of b" in shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.1234, ".123"), (-0.25, "-.250"), (1.0, "1.000"), (None, "-"), (0, ".000")],
)
def test_short_figures(value: float | None, shown: str) -> None:
    assert short(value) == shown


def test_a_calibration_in_words() -> None:
    told = {"method": "platt", "temperature": 1.25, "shift": -0.2, "skipped": "", "problems": 9}
    told["problems_fitted"] = 8
    assert calibration_in_words(told) == (
        "platt: T = 1.250, shift -0.200, fitted on 8 held-out problems, measured on 9 held-out "
        "problems apart from them"
    )
    assert calibration_in_words({**told, "method": "none"}).startswith("no calibration; measured")
    assert "no calibration: too few;" in calibration_in_words({**told, "skipped": "too few"})


@pytest.mark.parametrize("evil", EVIL)
def test_no_table_of_models_obeys_what_is_in_it(evil: str) -> None:
    row = {**model_row(manifest()), "labels": evil, "loss": evil}
    shown = text(models_table([row], []), 300)
    from flows.tables import escaped

    assert escaped(evil) in shown


def test_a_narrow_console_keeps_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=40, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    value_models.show_models(console, ["reference:countdown-qvm"], False)
    assert console.width == 40
    assert "…" not in console.export_text()
