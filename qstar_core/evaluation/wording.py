"""How the report says its figures: numbers as text, and the summary in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from qstar_core.evaluation.compare import FAILURES, NO_VERDICT, SOLVED

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"

Row = Mapping[str, Any]


def number(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """A number with so many decimals and thousands separated; a dash where it is missing."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return ("" if value > 0 else MINUS) + "\N{INFINITY}"
    value = round(value, digits) + 0.0  # no negative zero
    text = f"{abs(value):,.{digits}f}"
    sign = MINUS if value < 0 else "+" if signed and value > 0 else ""
    return sign + text


def percent(share: float | None, digits: int = 1) -> str:
    """A share in 0..1 in percent, without the sign %."""
    return number(None if share is None else 100 * share, digits)


def points(difference: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return number(None if difference is None else 100 * difference, 1, signed=True)


def p_value(p: float | None) -> str:
    """A p-value as it is printed: two significant digits, or < 0.001."""
    if p is None or math.isnan(p):
        return MISSING
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def words(name: str) -> str:
    """A name of the data, such as ``grader_error``, as words."""
    return name.replace("_", " ")


def visible(text: str) -> str:
    """Text of a model as it can be shown: control characters are replaced, no last newline."""
    shown = "".join(
        c if c in "\t\n" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return shown.rstrip("\n")


def headline(rows: Sequence[Row]) -> Row | None:
    """The method that the report is about: the first A*, else the first that is not the baseline.

    Never the one with the best figures, which would be a choice after the fact.
    """
    others = [row for row in rows if row["verdict"] != "baseline"]
    searches = [row for row in others if row["algorithm"] == "astar"]
    return next(iter([*searches, *others]), None)


def baseline(rows: Sequence[Row]) -> Row | None:
    """The row of the baseline."""
    return next((row for row in rows if row["verdict"] == "baseline"), None)


def summary(rows: Sequence[Row]) -> list[str]:
    """The result in two sentences: what was solved at what cost, and whether that is a gain.

    Args:
        rows: of `qstar_core.evaluation.compare.compare`.
    """
    base, best = baseline(rows), headline(rows)
    if base is None:
        return ["No problem was searched, so there is nothing to compare."]
    if best is None:
        return [f"{_solved(base)}.", "No other method was run, so there is nothing to compare."]
    return [f"{_solved(best)}; {_solved(base, short=True)}.", _judgement(best, base)]


def _solved(row: Row, short: bool = False) -> str:
    of = "" if short else f" of {row['n']:,} held-out problems"
    return (
        f"{row['method']} solved {row['correct']:,}{of} ({percent(row['accuracy'])} %) "
        f"with {row['policy_tokens']:,.0f} policy tokens per problem"
    )


def _judgement(row: Row, base: Row) -> str:
    name = base["method"]
    if row["difference"] is None:
        return f"No problem was searched by both, so the gain over {name} is unknown."
    interval = f"95 % interval {points(row['difference_low'])} to {points(row['difference_high'])}"
    size = number(100 * abs(row["difference"]), 1)
    if row["verdict"] == "better":
        return f"That is a significant gain of {size} percentage points over {name} ({interval})."
    if row["verdict"] == "worse":
        return f"That is significantly worse than {name}, by {size} percentage points ({interval})."
    return (
        f"That is no significant gain over {name}: "
        f"the difference is {points(row['difference'])} percentage points ({interval})."
    )


def plainly(rows: Sequence[Row], searches: pl.DataFrame) -> list[str]:
    """The result for a reader who knows no statistics: out of a hundred, at what cost, how sure.

    Args:
        rows: of `qstar_core.evaluation.compare.compare`.
        searches: columns problem_id, method and outcome.
    """
    base, best = baseline(rows), headline(rows)
    if base is None or best is None:
        return []
    a, b = best["method"], base["method"]
    said = [
        f"Of 100 problems {a} solves about {number(100 * best['accuracy'], 0)}, {b} about "
        f"{number(100 * base['accuracy'], 0)}.",
        f"Both may spend the same; on average {a} generated {number(best['policy_tokens'], 0)} "
        f"tokens per problem and {b} {number(base['policy_tokens'], 0)}.",
    ]
    only_a, only_b = _exclusive(searches, a, b)
    said.append(
        f"{only_a:,} problems were solved by {a} and not by {b}, {only_b:,} the other way round."
    )
    if best["p_value"] is not None:
        said.append(_sureness(best))
    return said


def _exclusive(searches: pl.DataFrame, a: str, b: str) -> tuple[int, int]:
    """Problems that one method solved and the other did not, both ways."""
    solved = [
        set(searches.filter((pl.col("method") == name) & SOLVED)["problem_id"]) for name in (a, b)
    ]
    return len(solved[0] - solved[1]), len(solved[1] - solved[0])


def _sureness(row: Row) -> str:
    p = row["p_value"]
    often = (
        "less than once in 1,000 such runs"
        if p < 0.001
        else f"in {number(100 * p, 1)} % of such runs"
    )
    if row["verdict"] == NO_VERDICT:
        return (
            f"That can be chance: without any real difference one as large would be seen {often}."
        )
    return f"Chance alone would show a difference as large {often}."


def unsolvable(problems: Row) -> str:
    """How many test problems nothing can solve, in a sentence; empty for none, or none known.

    Args:
        problems: figures of the data set of problems.
    """
    count = problems.get("unsolvable")
    if not count:
        return ""
    which = f"{count:,} of {problems['test']:,} test problems"
    return f"{which} have no solution; they count as unsolved, whatever the method."


def failures(rows: Sequence[Row]) -> list[str]:
    """One sentence per method whose searches or grading failed; they count as unsolved."""
    sentences = []
    for row in rows:
        counts = [(row["outcomes"].get(name, 0), words(name)) for name in FAILURES]
        parts = [f"{count:,} {name}" for count, name in counts if count]
        if parts:
            sentences.append(f"{row['method']}: {', '.join(parts)} of {row['n']:,}")
    return sentences
