"""The commands of ``qstar`` on data sets that are there: what is in them, and where it is from."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal

import typer

from flows import commands

app = typer.Typer()

DAMAGED = 1  # exit code: what is there is not what it should be, or differs

Dataset = Annotated[
    str, typer.Argument(metavar="DATASET", help="Folder or s3:// URI of a data set.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH.TO.FIELD=VALUE", help="Overrides a field; repeatable."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Prefect's log on the console too.")]


@app.command()
def show(
    datasets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET...",
            help="Folder or s3:// URI of a data set; several Q-value models are put side by side.",
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Of Q-value models: all figures as JSON.")
    ] = False,
) -> None:
    """Show a data set: manifest, schema, figures, first rows; or compare Q-value models."""
    from flows.inspect import show_dataset
    from flows.value_models import show_models

    if len(datasets) > 1 or as_json:
        show_models(commands.console(), datasets, as_json)
    else:
        show_dataset(commands.console(), datasets[0])


@app.command()
def fetch(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="Folder or s3:// URI of a data set.")
    ],
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Local folder to copy it to.")],
) -> None:
    """Copy a published data set to a local folder, every file verified by its sha256."""
    from qstar_core.store.copying import fetch as copy

    files = copy(dataset, folder)
    commands.console().print(
        f"{len(files)} files, verified, in {folder}\nNext: qstar show {shlex.quote(folder)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@app.command()
def audit(
    labels: Annotated[
        str, typer.Argument(metavar="LABELS", help="Folder or s3:// URI of a labels data set.")
    ],
    json_: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write the figures; - prints them instead."),
    ] = None,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write a page with charts.")
    ] = None,
    problems: Annotated[
        int, typer.Option("--problems", min=0, help="Compared with the exact Q*, at most.")
    ] = 1000,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.05, max=1.0, help="Jaccard of near-duplicates.")
    ] = 0.8,
) -> None:
    """Say what is wrong with a labels data set, and how far each method is from the exact Q*."""
    from flows.audit import audit_labels

    audit_labels(commands.console(), labels, json_, html, problems, threshold)


@app.command()
def explain(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Evaluation or comparison, report, or output folder."),
    ],
    problem: Annotated[
        str, typer.Argument(metavar="PROBLEM", help="Number from 1, start of its id, or text.")
    ],
    method: Annotated[
        str | None,
        typer.Option("--method", help="Name of a method (A*, else the first with a tree)."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option("--budget", help="Of a comparison: one of its budgets (largest)."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All nodes of the tree.")] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="Run the search again from its record.")
    ] = False,
) -> None:
    """Show why a search chose its path: the stored tree of one problem."""
    from flows.explain import explain as show_search

    show_search(commands.console(), run, problem, method, budget, all_, replay)


@app.command()
def results(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Evaluation or comparison, report, or output folder."),
    ],
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Name of a method; repeatable.")
    ] = None,
    problem: Annotated[
        str, typer.Option("--problem", help="Start of its id, or a part of its text.")
    ] = "",
    outcome: Annotated[
        list[str] | None,
        typer.Option("--outcome", help="correct, wrong, no_answer, ...; repeatable."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="METHOD", help="Problems that it alone solved."),
    ] = None,
    not_: Annotated[
        str | None,
        typer.Option(
            "--not",
            metavar="METHOD",
            help="Problems that it lost: another solved them; with --only, that one did.",
        ),
    ] = None,
    format_: Annotated[
        Literal["table", "json", "csv"], typer.Option("--format", help="Of the output.")
    ] = "table",
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=0, help="Rows at most, 0 for all (50 for a table, else all)."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option("--budget", help="Of a comparison: one of its budgets (largest)."),
    ] = None,
) -> None:
    """Print the scored results of a run, filtered: a row per problem and method."""
    from flows.results import show_results
    from qstar_core.evaluation.results import Wanted

    wanted = Wanted(
        methods=method or [], outcomes=outcome or [], problem=problem, only=only, lost=not_
    )
    show_results(commands.console(), run, wanted, format_, limit, budget)


@app.command()
def index(
    out: Annotated[str, typer.Argument(metavar="OUT", help="Output folder or s3:// URI.")],
) -> None:
    """Write index.html into an output folder: all its runs, their trend, and what changed."""
    from flows.index import index as write

    write(commands.console(), out)


@app.command()
def verify(
    datasets: Annotated[
        list[str], typer.Argument(metavar="DATASET...", help="Folders or s3:// URIs.")
    ],
    deep: Annotated[bool, typer.Option("--deep", help="All that it was made from, too.")] = False,
) -> None:
    """Check every file of data sets against their manifests; exit code 1 if one is damaged."""
    from flows.provenance import show_verified

    console = commands.console()
    good = [show_verified(console, dataset, deep) for dataset in datasets]  # not only to the first
    _end(all(good))


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="Folder or s3:// URI of a data set.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="COLUMN,...", help="What tells rows apart (by kind)."),
    ] = None,
) -> None:
    """Compare two data sets row by row, by the ids; exit code 1 if rows differ."""
    from flows.differences import show_diff

    _end(show_diff(commands.console(), a, b, by))


@app.command()
def lineage(
    dataset: Dataset,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what a data set was made from, back to the problems; exit code 1 if some is gone."""
    from flows.provenance import show_lineage

    _end(show_lineage(commands.console(), dataset, as_json))


@app.command()
def reproduce(
    dataset: Dataset,
    keep: Annotated[
        str | None,
        typer.Option("--keep", metavar="FOLDER", help="Make it there and leave it there."),
    ] = None,
    from_inputs: Annotated[
        bool, typer.Option("--from-inputs", help="Take its published inputs as they are.")
    ] = False,
    set_: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Make a data set again from its manifest and compare; exit code 1 if it is not equal."""
    from flows.differences import reproduce as make_again

    _end(make_again(commands.console(), dataset, keep, from_inputs, set_, verbose))


@app.command()
def gc(
    out: Annotated[str, typer.Argument(metavar="OUT", help="Output folder or s3:// URI.")],
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep", metavar="RUN", help="Configuration or data set that is needed; repeatable."
        ),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is listed.")] = False,
) -> None:
    """List what no named run needs; removes nothing unless told to."""
    from flows.provenance import collect

    collect(commands.console(), out, keep or [], delete)


def _end(good: bool) -> None:
    if not good:
        raise typer.Exit(DAMAGED)
