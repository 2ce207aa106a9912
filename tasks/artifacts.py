"""Artifacts of a flow run in Prefect: the comparison as a table, the way to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from qstar_core.store.uri import is_remote
from tasks.records import note_task_run

DIGITS = 4


@task(name="artifact-comparison", persist_result=False, cache_policy=NO_CACHE)
def record_comparison(rows: list[dict[str, Any]], run_name: str, stage: str = "evaluation") -> None:
    """Puts the comparison of the methods on record as a table artifact."""
    note_task_run()
    key = "comparison" if stage == "evaluation" else f"sweep-{stage}"
    create_table_artifact(
        [_readable(row) for row in rows],
        key=key,
        description=f"Methods of {run_name} at equal budgets",
    )


@task(name="artifact-report", persist_result=False, cache_policy=NO_CACHE)
def record_report(path: str, run_name: str) -> None:
    """Puts a link to the HTML report on record as a markdown artifact; for S3, how to get it."""
    note_task_run()
    if is_remote(path):
        folder = path.rpartition("/")[0]
        text = f"Report of {run_name}: `{path}`\n\n`qstar fetch {folder} report`"
        create_markdown_artifact(text, key="report", description=run_name)
        return
    url = Path(path).absolute().as_uri()
    create_markdown_artifact(
        f"[Report of {run_name}]({url})\n\n`{path}`", key="report", description=run_name
    )


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """A row with numbers of as many digits as a page has room for; the data set has all."""
    return {k: round(v, DIGITS) if isinstance(v, float) else v for k, v in row.items()}
