"""The commands of ``qstar`` on data sets that are there: where they come from, and whether."""

from __future__ import annotations

from typing import Annotated

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


@app.command()
def verify(
    dataset: Dataset,
    deep: Annotated[bool, typer.Option("--deep", help="All that it was made from, too.")] = False,
) -> None:
    """Check every file of a data set against its manifest; exit code 1 if one is damaged."""
    from flows.provenance import show_verified

    _end(show_verified(commands.console(), dataset, deep))


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
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Prefect's log on the console too.")
    ] = False,
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
