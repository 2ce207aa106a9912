"""A data set made once more beside the published one, and the environments of both.

Rows and files decide; documents for people may say other seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qstar_core import environment
from qstar_core.provenance.diff import Difference, diff
from qstar_core.provenance.manifests import Manifest, differences, read
from qstar_core.provenance.rerun import Rerun

DOCUMENTS = (".md", ".html")
"""Ends of the names of files for people: said when they differ, but no part of the result."""


def environment_differences(manifest: Manifest) -> list[tuple[str, Any, Any]]:
    """Python, platform, packages and commit of then that are others now: name, then, now."""
    then = manifest.get("environment", {})
    now = environment.describe()
    found: dict[str, tuple[str, Any, Any]] = {}
    for each in then if isinstance(then, list) else [then]:
        compared = {n: each[n] for n in ("python", "platform", "commit", "modified") if n in each}
        compared["packages"] = each.get("packages", {})
        ours = {name: now.get(name) for name in compared}
        # packages that only one of the two environments has made none of the rows differ
        ours["packages"] = {n: v for n, v in now["packages"].items() if n in compared["packages"]}
        for field, before, after in differences(compared, ours):
            found.setdefault(field, (field.removeprefix("packages."), before, after))
    return list(found.values())


@dataclass(frozen=True)
class Outcome:
    """A rerun beside what was published.

    Attributes:
        rows: the comparison of the rows; None where there are none.
        files: names of other files (weights, documents) that have another content.
        of: how many other files there are.
    """

    rows: Difference | None
    files: list[str]
    of: int

    @property
    def equal(self) -> bool:
        """Whether everything is equal, documents apart."""
        decisive = [name for name in self.files if not name.endswith(DOCUMENTS)]
        return not decisive and (self.rows is None or self.rows.same)


def compare(rerun: Rerun) -> Outcome:
    """Compares the published data set with the rerun, which has been made.

    Raises:
        Damaged: a file cannot be read.
    """
    made = read(rerun.target.uri)
    then, now = (
        {e["name"]: e["sha256"] for e in each["files"] if not e["name"].endswith(".parquet")}
        for each in (rerun.manifest, made)
    )
    tables = any(e["name"].endswith(".parquet") for e in rerun.manifest["files"])
    return Outcome(
        rows=diff(rerun.uri, rerun.target.uri) if tables else None,
        files=sorted(n for n in {*then, *now} if then.get(n) != now.get(n)),
        of=len({*then, *now}),
    )
