"""The command line ``qstar``. What is heavy is imported inside the command that needs it."""

from __future__ import annotations

import shlex
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from flows.guard import Guarded
from qstar_core import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from qstar_core.config import RunConfig

app = typer.Typer(
    cls=Guarded,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A frozen LLM reasons better by planning: problems, rollouts, Q-labels, "
    "Q-value model, evaluation, report.",
)

ConfigFile = Annotated[
    str, typer.Argument(metavar="CONFIG", help="YAML file of the run, a path or s3:// URI.")
]
Out = Annotated[
    str | None,
    typer.Option("--out", metavar="FOLDER", help="Overrides out: a folder or s3://bucket/prefix."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH.TO.FIELD=VALUE", help="Overrides a field; repeatable."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Prefect's log on the console too.")]


@app.command()
def run(
    config: ConfigFile,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would run and is there; run nothing.")
    ] = False,
    out: Out = None,
    set_: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Run the whole pipeline; what is already there is kept."""
    from flows import inspect

    settings = _load(config, set_, out)
    console = _console()
    _notes(console, settings)
    if plan:
        from flows.tables import plan_table

        console.print(plan_table(inspect.plan_rows(settings)))
        return
    manifests = inspect.all_published(settings)
    if manifests is None:
        _prefect(verbose)
        from flows.nightly import nightly

        manifests = nightly(settings)
    else:
        console.print(f"Everything is already there: {len(manifests)} data sets.\n")
    command = ["qstar", "run", config, *(["--out", out] if out else [])]
    inspect.show_end(console, settings, manifests, shlex.join(command))
    _say_retries(console)


@app.command()
def rollouts(
    config: ConfigFile, out: Out = None, set_: Sets = None, verbose: Verbose = False
) -> None:
    """Make the problems and sample rollouts from the training problems."""
    _single("rollouts", "rollouts", config, out, set_, verbose)


@app.command()
def label(config: ConfigFile, out: Out = None, set_: Sets = None, verbose: Verbose = False) -> None:
    """Make Q-labels from the rollouts."""
    _single("labels", "label", config, out, set_, verbose)


@app.command(name="train-qvm")
def train_qvm(
    config: ConfigFile, out: Out = None, set_: Sets = None, verbose: Verbose = False
) -> None:
    """Train the Q-value model on the labels."""
    _single("qvm", "train_qvm", config, out, set_, verbose)


@app.command()
def evaluate(
    config: ConfigFile, out: Out = None, set_: Sets = None, verbose: Verbose = False
) -> None:
    """Run the search methods on the held-out problems."""
    _single("evaluation", "evaluate", config, out, set_, verbose)


@app.command()
def report(
    config: ConfigFile, out: Out = None, set_: Sets = None, verbose: Verbose = False
) -> None:
    """Write the HTML report of the evaluation."""
    _single("report", "report", config, out, set_, verbose)


@app.command()
def pretrain(
    config: ConfigFile,
    out: Annotated[
        str | None,
        typer.Option("--out", help="Folder or s3:// URI of the checkpoint [OUT/pretrain]."),
    ] = None,
    set_: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Train the embedded reference policy from generated plays."""
    from qstar_core.store import open_store
    from qstar_core.store.uri import join

    settings = _load(config, set_)
    folder = out or join(settings.out, "pretrain")
    open_store(folder).check("out")
    _prefect(verbose)
    from flows.pretrain import pretrain as flow

    flow(settings, folder)
    _console().print(
        f"Checkpoint {folder}\nNext: qstar run {config} --set policy.path={folder}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@app.command()
def show(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="Folder or s3:// URI of a data set.")
    ],
) -> None:
    """Show a data set: manifest, schema, figures, first rows."""
    from flows.inspect import show_dataset

    show_dataset(_console(), dataset)


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
    _console().print(
        f"{len(files)} files, verified, in {folder}\nNext: qstar show {shlex.quote(folder)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@app.command()
def explain(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Evaluation data set, report, or output folder.")
    ],
    problem: Annotated[
        str, typer.Argument(metavar="PROBLEM", help="Number from 1, start of its id, or text.")
    ],
    method: Annotated[str | None, typer.Option("--method", help="Name of a method [last].")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All nodes of the tree.")] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="Run the search again from its record.")
    ] = False,
) -> None:
    """Show why a search chose its path: the stored tree of one problem."""
    from flows.explain import explain as show_search

    show_search(_console(), run, problem, method, all_, replay)


@app.command()
def up(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 takes a free one.")
    ] = 4200,
) -> None:
    """Start a local Prefect server with its web page; all commands then use it."""
    from flows import server, settings

    settings.apply()
    found, started = server.up(port)
    state = "started" if started else "was running already"
    _console().print(f"Prefect server {state}: {found['ui']}\nNext: qstar down stops it")


@app.command()
def down() -> None:
    """Stop the server that ``up`` started."""
    from flows import server, settings

    settings.apply()
    _console().print("Stopped." if server.down() else "No server of qstar was running.")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _single(
    stage: str, flow: str, path: str, out: str | None, overrides: list[str] | None, verbose: bool
) -> None:
    """Runs the flow ``flows.{flow}`` of one stage unless its data set is there already."""
    from qstar_core import pipeline

    config = _load(path, overrides, out)
    found = pipeline.plan(config).get(stage)
    manifest = pipeline.published(found) if found is not None else None
    console = _console()
    _notes(console, config)
    if manifest is not None:
        console.print(f"{stage} is already there.")
    else:
        if found is not None and stage != "rollouts":
            pipeline.shards(found, config)  # a missing input is said before Prefect is started
        _prefect(verbose)
        manifest = getattr(import_module(f"flows.{flow}"), flow)(config)
    console.print(
        f"{manifest['rows']:,} rows: {manifest['uri']}\nNext: qstar show {manifest['uri']}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    _say_retries(console)


def _load(path: str, overrides: list[str] | None, out: str | None = None) -> RunConfig:
    from qstar_core.config_file import load_config

    return load_config(path, overrides, out)


def _say_retries(console: Console) -> None:
    """Where S3 was used: how many of its requests this command had to repeat."""
    from qstar_core.store import retries

    count = retries.total()
    if count is not None:
        console.print(f"S3 requests repeated: {count:,}", highlight=False)


def _notes(console: Console, config: RunConfig) -> None:
    """Says which rows of the users' problem files are not used."""
    from qstar_core.domains import countdown_problems

    for note in countdown_problems.notes(config.domain):
        console.print(f"Note: {note}", highlight=False, markup=False, soft_wrap=True)


def _prefect(verbose: bool) -> None:
    """Settings, server and logging of Prefect; the server starts while Prefect is imported."""
    from flows import server, settings

    settings.apply(verbose)
    embedded = server.connect()
    from flows.logs import configure

    configure(verbose)
    if embedded is not None:
        embedded.wait()


def _console() -> Console:
    from rich.console import Console

    return Console()


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
