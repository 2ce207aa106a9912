"""The rounds of fitted Q iteration side by side: what each has learnt, and how its labels moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from flows.tables import COMPACT, plain
from flows.value_models import short
from qstar_core.labels.change import mean_change
from qstar_core.stage import Stage, kind_of
from qstar_core.store import dataset

UNKNOWN = "-"

Row = dict[str, Any]


def round_rows(stages: Mapping[str, Stage]) -> list[Row]:
    """The figures of the Q-value model of each round that is there.

    Args:
        stages: of a run, by name and in order.

    Returns:
        One row per round: ``round``, ``updates``, ``loss``, ``auc`` and ``regret`` by step (of the
        argmax among siblings; both against the exact Q* where it is known, else against the
        labels) and ``change``, the mean |y_l - y_(l-1)| of its labels; None where unknown.
    """
    models = [stage for stage in stages.values() if stage.kind == "qvm"]
    labels = [stage for stage in stages.values() if _of_a_round(stage)]
    rows: list[Row] = []
    before: list[str] | None = None
    for number, (label, model) in enumerate(zip(labels, models, strict=False), start=1):
        manifest = dataset.read_manifest(model.uri)
        if manifest is None:
            break
        there = dataset.read_manifest(label.uri) is not None  # the model outlives its labels
        files = dataset.data_files(label.uri) if there else []
        change = None if before is None else mean_change(before, files)
        rows.append({"round": number, **_of_model(manifest["figures"]), "change": change})
        before = files
    return rows


def _of_a_round(stage: Stage) -> bool:
    """Whether a stage has the labels of a round, not those of a process reward model."""
    last = stage.name.rpartition("_")[2]
    return kind_of(stage.name) == "labels" and (last.isdigit() or last == "labels")


def _of_model(figures: Mapping[str, Any]) -> Row:
    auc = {row["step"]: _first(row, "auc_truth", "auc_label") for row in figures.get("heldout", [])}
    regret = {}
    for row in figures.get("regret", []):
        truth = (row.get("truth") or {}).get("regret")
        regret[row["step"]] = row.get("regret") if truth is None else truth
    return {"updates": figures.get("updates"), "loss": figures.get("loss")} | {
        "auc": auc,
        "regret": regret,
    }


def _first(row: Mapping[str, Any], *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def rounds_table(rows: list[Row]) -> Table:
    """The rounds one below the other.

    Args:
        rows: of `round_rows`.
    """
    title = "Rounds of fitted Q iteration on held-out problems; regret among siblings"
    table = Table(title=title, **COMPACT)
    steps = {name: list(dict.fromkeys(s for row in rows for s in row[name])) for name in FIGURES}
    columns = ["round", "updates", "loss", *_headed("AUC", steps["auc"])]
    columns += _headed("regret", steps["regret"]) or ["regret"]
    for column in [*columns, "change\nof y"]:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        cells = [str(row["round"]), _shown(row["updates"], ",d"), short(row["loss"])]
        cells += [short(row["auc"].get(step)) for step in steps["auc"]]
        cells += [short(row["regret"].get(step)) for step in steps["regret"]] or [UNKNOWN]
        table.add_row(*map(plain, [*cells, short(row["change"])]))
    return table


FIGURES = ("auc", "regret")


def _headed(figure: str, steps: list[str]) -> list[str]:
    """Heads of the columns of a figure, its name above the first alone: all fit 80 characters."""
    return [f"{'' if place else figure}\n{step}" for place, step in enumerate(steps)]


def _shown(value: Any, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)
