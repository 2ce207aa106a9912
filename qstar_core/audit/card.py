"""The data card: a Markdown file beside the rows of a published data set.

It is written before the manifest, which has its sha256, and is made of the rows, of what the run
key hashes and of the section ``card`` of the configuration. It has no date, no place and no
measured time, so that equal rows have equal cards. Held-out problems are not in it: the key of
rollouts and labels knows nothing of them (``qstar audit`` looks for leakage).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import polars as pl
import pyarrow.parquet as pq

from qstar_core.audit.questions import duplicates
from qstar_core.audit.steps import by_step, conflicts
from qstar_core.config import CardConfig
from qstar_core.domains import DOMAINS
from qstar_core.evaluation.report import TEMPLATES
from qstar_core.evaluation.wording import number, percent, visible
from qstar_core.stage import kind_of
from qstar_core.store import dataset

NAME = "CARD.md"
WHAT = {
    "rollouts": "Whole trajectories of a policy from each problem, step by step, graded.",
    "pool": "Trajectories that begin with given steps of rollouts and go on with sampled ones, "
    "graded. Their states and actions share the ids of the rollouts that they branch from.",
    "labels": "A value for each step of each rollout: what the data behind it say about reaching "
    "the right answer from there.",
    "evaluation": "What each search method returned for each held-out problem within one budget of "
    "policy tokens, graded, with its search tree and what it cost.",
}
TITLES = {
    "rollouts": "Rollouts",
    "pool": "Pool of rollouts",
    "labels": "Q-labels",
    "evaluation": "Scored results",
}
LIMITS = {
    "rollouts": (
        "What the policy never samples is not in the data.",
        "An outcome is as good as its grader; trajectories with the outcome timeout or "
        "grader_error are not known to be wrong.",
    ),
    "labels": (
        "A label says what was seen in the paths behind it, not what is possible: `n_samples` and "
        "the interval of `successes` say how much that is.",
        "Labels that pool paths of one policy hold for that policy; a better one may go on from a "
        "state with label 0.",
        "docs/labels.md compares the methods with the exact values where these are known.",
    ),
    "evaluation": (
        "An accuracy holds for these problems, this policy and this budget; intervals say how much "
        "the choice of problems matters, not what another model would do.",
        "Searches and gradings that failed (search_error, timeout, grader_error) count as unsolved "
        "and are counted apart.",
        "Problems that nothing can solve count as unsolved too.",
    ),
}
NAMED_POLICIES = 5

MARKS = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"})

Row = dict[str, Any]


def card(
    head: Mapping[str, Any], about: CardConfig, files: Sequence[str], inputs: Mapping[str, str]
) -> str:
    """The card of a data set whose rows are all there.

    Args:
        head: of the manifest: kind, key, rows_from, inputs, figures and config.
        about: what the configuration says of it.
        files: local paths of its Parquet files, in order.
        inputs: folders of the data sets it was made from, by stage name.
    """
    kind = kind_of(str(head["kind"]))
    domain = DOMAINS[head["config"]["domain"]["name"]]
    if kind == "labels":
        figures = _of_labels(files, inputs)
    else:
        figures = _of_searches(head) if kind == "evaluation" else _of_trajectories(head, files)
    hashed = _hashed(head, inputs)
    policies = [str(part["policy"]) for part in hashed.values() if "policy" in part]
    imported = any("import_file" in part for part in hashed.values())
    return markdown("card.md.j2").render(
        head=head,
        about=about,
        title=f"{TITLES[kind]}: {head['config']['domain']['name']}",
        what=WHAT[kind],
        rows=sum(pq.read_metadata(file).num_rows for file in files),
        domain=head["config"]["domain"]["name"],
        policy=_policies(files) if imported else "".join(policies[:1]),
        grader=[domain.GRADER, domain.GRADER_VERSION],
        made_from=[f"{stage} {key}" for stage, key in _made_from(head).items()],
        columns=_columns(files[0]) if files else [],
        limits=LIMITS.get(kind, LIMITS["rollouts"]),
        hashed=fenced(hashed),
        **{**dict.fromkeys(("outcomes", "steps", "twice", "methods")), **figures},
    )


def _of_labels(files: Sequence[str], inputs: Mapping[str, str]) -> Row:
    """Counts by step, contradictions, and questions that stand twice."""
    found: Row = {"steps": by_step(files), "conflicts": conflicts(files)}
    if "problems" in inputs:
        known = pl.read_parquet(dataset.data_files(inputs["problems"]))
        train = known.filter(pl.col("split_asked") == "train")
        found |= {"twice": duplicates(train), "train": len(train)}
    return found


def _of_searches(head: Mapping[str, Any]) -> Row:
    """The methods of an evaluation; without their seconds, which the same rows may have others."""
    return {"methods": head["figures"]["comparison"]}


def _of_trajectories(head: Mapping[str, Any], files: Sequence[str]) -> Row:
    """Counts of outcomes and problems; a problem's trajectories are in one file."""
    outcomes: dict[str, int] = {}
    problems = 0
    for file in files:
        rows = pl.scan_parquet(file)
        problems += rows.select(pl.col("problem_id").n_unique()).collect().item()
        counts = rows.group_by("outcome").agg(n=pl.len()).collect(engine="streaming")
        for outcome, n in counts.iter_rows():
            outcomes[outcome] = outcomes.get(outcome, 0) + n
    return {
        "outcomes": sorted(outcomes.items()),
        "problems": problems,
        "quarantined": len(head["figures"].get("quarantined", [])),
    }


def _made_from(head: Mapping[str, Any]) -> dict[str, str]:
    """The keys of the inputs, less that of the problems, which depends on the held-out ones."""
    return {stage: key for stage, key in head["inputs"].items() if stage != "problems"}


def _hashed(head: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Row]:
    """What the run key hashes, and for labels that of the trajectories too."""
    found = {str(head["kind"]): dict(head["rows_from"])}
    for stage, uri in inputs.items():
        manifest = dataset.read_manifest(uri)
        if manifest is not None and stage != "problems":
            found[stage] = manifest["rows_from"]
    return found


def _policies(files: Sequence[str]) -> str:
    """Those that wrote imported trajectories, as their rows say."""
    column = pl.scan_parquet(list(files)).select(pl.col("policy").cast(pl.String).unique())
    found = sorted(column.collect(engine="streaming").to_series())
    more = f" and {len(found) - NAMED_POLICIES:,} more" if len(found) > NAMED_POLICIES else ""
    return ", ".join(found[:NAMED_POLICIES]) + more


def _columns(file: str) -> list[tuple[str, str, str]]:
    """Name, type and description of each column."""
    schema = pq.read_schema(file)
    told = [(field.metadata or {}).get(b"description", b"").decode() for field in schema]
    return [(f.name, str(f.type), text) for f, text in zip(schema, told, strict=True)]


def markdown(name: str) -> jinja2.Template:
    """A template of Markdown: what is not ours goes through one of the filters."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,  # not HTML
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(inline=inline, quoted=json.dumps, cleaned=visible)
    environment.filters.update(number=number, percent=percent)
    return environment.get_template(name)


def fenced(value: object) -> str:
    """JSON that a fence of backticks holds."""
    return json.dumps(value, indent=1, default=str).replace("`", "\\u0060")


def loading(auto: str, use: str) -> str:
    """Three lines of plain transformers that load the model in this folder and use it.

    Args:
        auto: class of transformers that the model is loaded by.
        use: the third line.
    """
    return (
        f"from transformers import {auto} as Model, AutoTokenizer as Tokenizer\n"
        'tokenizer, model = Tokenizer.from_pretrained("."), Model.from_pretrained(".")\n'
        f"{use}"
    )


def inline(text: object) -> str:
    """Text as it can stand in a line or a cell of Markdown; no mark in it is obeyed."""
    return " ".join(visible(str(text)).split()).translate(MARKS)
