"""What the user sees of AdaReasoner: the plan and the tables of ``qstar train-adaptive``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from flows import commands, inspect, notes
from flows.tables import COMPACT, plain, plan_table, say
from qstar_core import pipeline
from qstar_core.adaptive_stages import section

UNKNOWN = "-"
NAMED = ("learners", "estimates", "curve", "chosen", "best_fixed")
"""Figures that the tables below show."""

Row = dict[str, Any]


def train_adaptive(
    path: str, plan: bool, out: str | None, overrides: list[str] | None, verbose: bool
) -> None:
    """Runs ``qstar train-adaptive``, or shows what it would make."""
    config = commands.load(path, overrides, out)
    section(config)
    if not plan:
        commands.make("adaptive", "train_adaptive", config, verbose)
        return
    from qstar_core.policies.stand_ins import with_stand_ins

    screen = commands.console()
    notes.say_fit(screen, config)
    config, absent = with_stand_ins(config)
    stages = pipeline.plan(config, until="adaptive")
    rows = inspect.plan_rows([pipeline.Round(1, config, stages)])
    screen.print(plan_table(rows, config.runtime.tokens_per_second, keys=not absent))
    say(screen, *inspect.places(rows))
    notes.say_absent(screen, absent)


def adaptive_tables(figures: Mapping[str, Any]) -> list[Table]:
    """Tables of a data set of kind adaptive.

    Args:
        figures: of its manifest.
    """
    tables = [learners_table(figures.get("learners", []))]
    if estimates := figures.get("estimates"):
        tables.append(estimates_table(estimates, figures.get("best_fixed", {})))
    tables += [chosen_table(name, of) for name, of in figures.get("chosen", {}).items()]
    return tables


def learners_table(rows: Sequence[Row]) -> Table:
    """What was trained: episodes, and how much more the last ones earned than the first."""
    table = Table(title="trained", **COMPACT)
    for name in ("learner", "episodes", "unknown", "tokens", "seconds", "first 5 %", "last 5 %"):
        table.add_column(name, justify="left" if name == "learner" else "right", no_wrap=True)
    for row in rows:
        numbers = (f"{row[name]:,}" for name in ("episodes", "unknown", "tokens", "seconds"))
        earned = (_share(row[name]) for name in ("first", "last"))
        table.add_row(*map(plain, (row["learner"], *numbers, *earned)))
    return table


def estimates_table(rows: Sequence[Row], best: Mapping[str, Any]) -> Table:
    """What each policy would have earned on the training questions, from the logged episodes."""
    said = ", ".join(f"{name} {value}" for name, value in best.items())
    title = f"utility on the training questions (SNIPS, 95 %); best fixed: {said}"
    table = Table(title=plain(title), **COMPACT)
    for name in ("policy", "utility", "low", "high", "effective episodes", ""):
        table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=True)
    for row in rows:
        numbers = (_share(row[name]) for name in ("utility", "low", "high"))
        doubt = "" if row["trusted"] else "too few to trust"
        table.add_row(*map(plain, (row["policy"], *numbers, f"{row['ess']:,.0f}", doubt)))
    return table


def chosen_table(name: str, chosen: Mapping[str, Mapping[str, int]], most: int = 6) -> Table:
    """How often each value is chosen, the most frequent first.

    Args:
        name: of the learner.
        chosen: counts by factor and value.
        most: values of a factor that are shown.
    """
    table = Table(title=plain(f"what {name} chooses on the training questions"), **COMPACT)
    table.add_column("factor", no_wrap=True)
    table.add_column("values and questions")
    for factor, counts in chosen.items():
        ranked = sorted(counts.items(), key=lambda item: -item[1])
        shown = [f"{value}: {count:,}" for value, count in ranked[:most]]
        if len(ranked) > most:
            shown.append(f"{len(ranked) - most} more")
        table.add_row(plain(factor), plain(", ".join(shown)))
    return table


def show_adaptive(screen: Console, figures: Mapping[str, Any]) -> None:
    """Prints the tables of a training."""
    for table in adaptive_tables(figures):
        screen.print(table)


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"
