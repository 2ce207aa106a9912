"""The audit of labels as far as a nightly report has time for it.

Balance by step, contradictions, and the labels themselves against the exact Q* where the domain
knows it. ``qstar audit`` has the rest: questions, negatives of the form, and every label method.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from qstar_core.audit.own import own
from qstar_core.audit.run import of_labels, training, warnings
from qstar_core.audit.source import open_labels
from qstar_core.domains import DOMAINS
from qstar_core.errors import UserError
from qstar_core.evaluation.assemble import place

PROBLEMS = 200
"""Compared with the exact Q*, at most."""

Row = dict[str, Any]


def brief(uri: str, problems: int = PROBLEMS) -> Row:
    """Audits a labels data set briefly.

    Args:
        uri: its folder, local or on S3.
        problems: so many are compared with the exact Q*.

    Returns:
        Those of the figures of `qstar_core.audit.run.audit` that need nothing but the labels and
        the problems; the others are None.

    Raises:
        UserError: no complete labels data set there.
    """
    source = open_labels(uri)
    files = source.files()
    found = of_labels(source, files)
    if "problems" in source.inputs and problems and hasattr(DOMAINS[source.domain], "q_star"):
        found["own"] = own(files, training(source), problems, found["gamma"])
    return {**found, "warnings": warnings(found)}


def label_audit(lineage: Iterable[Mapping[str, Any]], out: str) -> Row | None:
    """The audit of the labels that a report goes back to; None where there are none.

    Args:
        lineage: rows of `qstar_core.evaluation.assemble.lineage`.
        out: folder of all data sets.
    """
    found = [row for row in lineage if row["stage"] == "labels"]
    try:
        return brief(place(dict(found[-1]), out)) if found else None
    except UserError:  # labels that were removed meanwhile must not cost the report
        return None
