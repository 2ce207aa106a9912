"""The audit of a labels data set: all its figures, and what is wrong with what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from qstar_core.audit.format_errors import format_errors
from qstar_core.audit.own import own
from qstar_core.audit.questions import SIMILAR, duplicates, leakage
from qstar_core.audit.source import Source, as_problems, open_labels
from qstar_core.audit.steps import by_step, conflicts
from qstar_core.audit.truth import PROBLEMS, against_truth, methods
from qstar_core.domains import DOMAINS
from qstar_core.labels.steps import ROOT
from qstar_core.mdp import Problem

Row = dict[str, Any]
Said = Callable[[str], None]

MISSED = 0.1
"""Share of the good steps with label 0 from which on the audit speaks of it."""


def audit(
    uri: str, problems: int = PROBLEMS, threshold: float = SIMILAR, said: Said = lambda _: None
) -> Row:
    """Audits a labels data set.

    Args:
        uri: its folder or manifest, local or on S3.
        problems: so many are compared with the exact Q*, where the domain knows it; 0 for none.
        threshold: least Jaccard similarity of near-duplicates.
        said: told what is being looked at.

    Returns:
        JSON-serialisable: uri, key, method, gamma, rows, missing (inputs that do not lie beside
        it), imported (the trajectories come from a file of the user), steps, conflicts,
        duplicates, leakage, format_errors, own, truth (see the modules of these names; None where
        an input is missing or the domain cannot say) and warnings (what, next).

    Raises:
        UserError: no complete labels data set there.
    """
    source = open_labels(uri)
    said("labels by step")
    files = source.files()
    found = of_labels(source, files)
    if "problems" in source.inputs:
        said("questions")
        found |= _questions(source, files, threshold)
        if problems and hasattr(DOMAINS[source.domain], "q_star"):
            said("labels against the exact Q*")
            found["own"] = own(files, training(source), problems, found["gamma"])
        if ROOT in source.inputs:
            found |= _of_rollouts(source, problems, said)
    return {**found, "warnings": warnings(found)}


def _questions(source: Source, files: list[str], threshold: float) -> Row:
    """Duplicates and leakage among the problems that have labels."""
    known = source.problems()
    labelled = pl.concat([_ids(file) for file in files]).unique()
    train = known.filter(pl.col("split_asked") == "train").join(
        labelled, on="problem_id", how="semi"
    )
    test = known.filter(pl.col("split_asked") == "test")
    return {"duplicates": duplicates(train), "leakage": leakage(train, test, threshold)}


def of_labels(source: Source, files: list[str]) -> Row:
    """The figures that need nothing but the labels; those that need more are None.

    Args:
        source: of `qstar_core.audit.source.open_labels`.
        files: its Parquet files.
    """
    return {
        "uri": source.uri,
        "key": source.manifest["key"],
        "method": source.settings["method"],
        "gamma": source.settings["gamma"],
        "rows": source.manifest["rows"],
        "missing": list(source.missing),
        "imported": source.imported,
        "steps": by_step(files),
        "conflicts": conflicts(files),
        **dict.fromkeys(("duplicates", "leakage", "format_errors", "own", "truth")),
    }


def training(source: Source) -> dict[str, Problem]:
    """The training problems by id."""
    return as_problems(source.problems().filter(pl.col("split_asked") == "train"))


def _ids(file: str) -> pl.DataFrame:
    ids = pl.scan_parquet(file).select(pl.col("problem_id").cast(pl.String).unique())
    return ids.collect(engine="streaming")


def _of_rollouts(source: Source, limit: int, said: Said) -> Row:
    """Negatives of the form and the comparison with the truth, where the domain can say."""
    problems = training(source)
    domain = DOMAINS[source.domain]
    found: Row = {}
    if lenient := getattr(domain, "lenient", None):
        said("negatives of the form")
        found["format_errors"] = format_errors(source.files(ROOT), source.domain, problems, lenient)
    if limit and hasattr(domain, "q_star"):
        said("every method against the exact Q*")
        calls = methods(source.settings)
        found["truth"] = against_truth(source, problems, calls, limit)
    return found


def warnings(found: Row) -> list[dict[str, str]]:
    """What is wrong with a labels data set, worst first.

    Args:
        found: of `audit`.

    Returns:
        ``what`` was found and the ``next`` command.
    """
    return [
        *_of_leakage(found["leakage"] or {}),
        *_of_labels(found),
        *_of_truth(found),
        *_of_questions(found["duplicates"] or {}),
        *_of_form(found["format_errors"] or {}),
        *_of_missing(found),
    ]


def _of_leakage(leaked: Row) -> list[dict[str, str]]:
    found = []
    step = "take them out of domain.train_file, then qstar run CONFIG"
    if count := leaked.get("same"):
        what = f"{count:,} of {leaked['test']:,} test problems are training problems too"
        found.append({"what": f"{what}: training refuses these labels", "next": step})
    if count := leaked.get("near"):
        what = f"{count:,} of {leaked['test']:,} test problems have a near-duplicate in training"
        found.append({"what": f"{what}: training refuses these labels", "next": step})
    return found


def _more(found: Row) -> str:
    """How to come by more trajectories."""
    if found["imported"]:
        return "put more samples per question into the file, then qstar import FILE"
    return "qstar run CONFIG --set rollouts.samples=32, or a pool of states (docs/pools.md)"


def _of_truth(found: Row) -> list[dict[str, str]]:
    """Good steps that the labels take for bad ones, and the reverse."""
    steps, said = (found["own"] or {"steps": []})["steps"], []
    for row in steps:
        if row["good"] and row["missed"] >= MISSED * row["good"]:
            share = f"{100 * row['missed'] / row['good']:.0f} %"
            what = f"{share} of the good steps {row['step']} (exact Q* > 0) have label 0"
            said.append({"what": what, "next": _more(found)})
    if wrong := sum(row["wrong"] for row in steps):
        n = sum(row["n"] for row in steps)
        what = f"{wrong:,} of {n:,} labels are above 0 where the exact Q* is 0"
        step = f"qstar audit {found['uri']} --json -   (own: by step)"
        said.append({"what": what, "next": step})
    return said


def _of_labels(found: Row) -> list[dict[str, str]]:
    said = []
    if count := found["conflicts"]["conflicting"]:
        actions = found["conflicts"]["actions"]
        said.append(
            {
                "what": f"{count:,} of {actions:,} actions have labels that contradict each other",
                "next": "qstar verify OUT/labels/KEY   (every method gives an action one label)",
            }
        )
    for row in found["steps"]:
        if row["positive"] in (0, row["n"]):
            kind = "positive" if row["positive"] else "negative"
            said.append(
                {
                    "what": f"all {row['n']:,} labels of step {row['step']} are {kind}",
                    "next": _more(found),
                }
            )
    return said


def _of_questions(twice: Row) -> list[dict[str, str]]:
    if not twice.get("questions"):
        return []
    what = f"{twice['questions']:,} questions stand in {twice['problems']:,} training problems"
    return [{"what": what, "next": "leave one of each in domain.train_file, then qstar run CONFIG"}]


def _of_form(form: Row) -> list[dict[str, str]]:
    if not form.get("lenient"):
        return []
    share = 100 * form["lenient"] / form["negatives"]
    what = (
        f"{form['lenient']:,} of {form['negatives']:,} negatives ({share:.2g} %) reach the answer "
        "in a form that the grader does not take"
    )
    return [{"what": what, "next": "show the policy the form, or lower rollouts.temperature"}]


def _of_missing(found: Row) -> list[dict[str, str]]:
    if not found["missing"]:
        return []
    names = ", ".join(found["missing"])
    what = f"what the labels were made from does not lie beside them: {names}; less was audited"
    return [{"what": what, "next": "qstar audit OUT/labels/KEY where it was made"}]
