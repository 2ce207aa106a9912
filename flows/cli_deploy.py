"""The commands of ``qstar`` for unattended runs: deployments, dates that are missing, a server."""

from __future__ import annotations

from typing import Annotated

import typer

from flows import commands

app = typer.Typer()

DEFAULT_FILE = "deployments/prefect.yaml"

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="prefect.yaml of the deployments.")]


@app.command()
def deploy(file: File = DEFAULT_FILE, dry_run: DryRun = False) -> None:
    """Make the deployments and what they need on the Prefect server; change what differs."""
    from flows import server

    server.use_standing()
    from flows.deploy_show import show_deploy

    show_deploy(commands.console(), file, dry_run)


@app.command()
def backfill(
    deployment: Annotated[
        str, typer.Argument(metavar="DEPLOYMENT", help="Such as nightly, or FLOW/NAME.")
    ],
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="First date, YYYY-MM-DD.")],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="Last date, included.")],
    dry_run: DryRun = False,
) -> None:
    """Schedule a run for each date that has no record of a whole one."""
    from flows import server

    server.use_standing()
    from flows.backfill import show_backfill

    show_backfill(commands.console(), deployment, first, last, dry_run)


@app.command()
def server(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 takes a free one.")
    ] = 4200,
    file: Annotated[
        str, typer.Option("--file", metavar="FILE", help="prefect.yaml of the deployments.")
    ] = DEFAULT_FILE,
) -> None:
    """Run a Prefect server, a worker and the deployments until Ctrl-C; see docs/deploying.md."""
    from flows import standing

    standing.run(commands.console(), port, file)
