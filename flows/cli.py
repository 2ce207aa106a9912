"""The command line ``qstar``. What is heavy is imported inside the command that needs it."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files
from typing import Annotated

import typer

from flows import cli_data, cli_deploy, commands
from flows.cli_data import Sets, Verbose
from flows.guard import Guarded
from qstar_core import __version__

app = typer.Typer(
    cls=Guarded,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A frozen LLM reasons better by planning: problems, rollouts, Q-labels, "
    "Q-value model, evaluation, report.",
)
app.add_typer(cli_data.app)
app.add_typer(cli_deploy.app)

DEMO = "demo.yaml"  # a link to deployments/demo.yaml, a file of its own in a wheel

ConfigFile = Annotated[
    str, typer.Argument(metavar="CONFIG", help="YAML file of the run, a path or s3:// URI.")
]
Out = Annotated[
    str | None,
    typer.Option("--out", metavar="FOLDER", help="Overrides out: a folder or s3://bucket/prefix."),
]
Plan = Annotated[
    bool, typer.Option("--plan", help="Show what would run and is there; run nothing.")
]


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """The options of all commands."""


@app.command()
def demo(plan: Plan = False, out: Out = None, set_: Sets = None, verbose: Verbose = False) -> None:
    """Run the demo that comes with qstar: countdown with the embedded policy, in results/demo."""
    commands.whole("run", str(files("flows") / DEMO), plan, out, set_, verbose)


@app.command()
def run(
    config: ConfigFile,
    plan: Plan = False,
    out: Out = None,
    set_: Sets = None,
    verbose: Verbose = False,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Of expert iteration: overrides rounds.")
    ] = None,
    date: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="The partition: {date} in CONFIG; leaves a record of it."
        ),
    ] = None,
) -> None:
    """Run the whole pipeline; what is already there is kept."""
    given = [*(set_ or []), *([] if rounds is None else [f"rounds={rounds}"])]
    day = None if date is None else date.date()
    commands.whole("run", config, plan, out, given, verbose, day)


@app.command()
def compare(
    config: ConfigFile,
    plan: Plan = False,
    out: Out = None,
    set_: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Compare the search methods over a sweep of budgets, and write the report of it."""
    commands.whole("compare", config, plan, out, set_, verbose)


@app.command()
def rollouts(
    config: ConfigFile,
    out: Out = None,
    set_: Sets = None,
    verbose: Verbose = False,
    from_states: Annotated[
        bool, typer.Option("--from-states", help="And the pools that start from what they visit.")
    ] = False,
) -> None:
    """Make the problems and sample rollouts from the training problems."""
    if from_states:
        commands.pools(config, out, set_, verbose)
    else:
        commands.single("rollouts", "rollouts", config, out, set_, verbose)


@app.command(name="import")
def import_(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSONL of rollouts, a path or s3:// URI.")
    ],
    domain: Annotated[
        str | None, typer.Option("--domain", help="Whose problems they are (gsm8k).")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="CONFIG", help="YAML file with further fields."),
    ] = None,
    out: Out = None,
    set_: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Make problems and rollouts from texts produced elsewhere; see docs/importing.md."""
    commands.import_rollouts(file, domain, config, out, set_, verbose)


@app.command()
def label(config: ConfigFile, out: Out = None, set_: Sets = None, verbose: Verbose = False) -> None:
    """Make Q-labels from the rollouts."""
    commands.single("labels", "label", config, out, set_, verbose)


@app.command(name="train-qvm")
def train_qvm(
    config: ConfigFile,
    out: Out = None,
    set_: Sets = None,
    verbose: Verbose = False,
    method: Annotated[
        str | None, typer.Option("--method", help="As --set labels.method=METHOD.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="As --set labels.rounds=L, of fitted_q.")
    ] = None,
) -> None:
    """Train the Q-value model on the labels; with fitted_q in rounds, each on the last one."""
    commands.train_qvm(config, out, set_, verbose, method, rounds)


@app.command(name="train-prm")
def train_prm(
    config: ConfigFile, out: Out = None, set_: Sets = None, verbose: Verbose = False
) -> None:
    """Train a process reward model on labels of the rollouts, or on prm.annotations."""
    commands.single("prm", "train_prm", config, out, set_, verbose)


@app.command(name="train-policy")
def train_policy(
    config: ConfigFile, out: Out = None, set_: Sets = None, verbose: Verbose = False
) -> None:
    """Fine-tune the policy on its correct rollouts; see docs/training-policies.md."""
    commands.single("sft", "train_policy", config, out, set_, verbose)


@app.command(name="train-adaptive")
def train_adaptive(
    config: ConfigFile,
    plan: Plan = False,
    out: Out = None,
    set_: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Train the policy that picks a configuration for each question; see docs/adaptive.md."""
    from flows.adaptive import train_adaptive as train

    train(config, plan, out, set_, verbose)


@app.command()
def evaluate(
    config: ConfigFile, out: Out = None, set_: Sets = None, verbose: Verbose = False
) -> None:
    """Run the search methods on the held-out problems."""
    commands.single("evaluation", "evaluate", config, out, set_, verbose)


@app.command()
def report(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="YAML file of the run; with --against a data set or output folder too.",
        ),
    ],
    out: Out = None,
    set_: Sets = None,
    verbose: Verbose = False,
    comparison: Annotated[
        bool, typer.Option("--comparison", help="That of qstar compare instead.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", metavar="RUN", help="Another run, likewise: what got better and worse."
        ),
    ] = None,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="The page of --against.")
    ] = None,
) -> None:
    """Write the HTML report of the evaluation, or of the comparison; or compare two runs."""
    if against is not None:
        from flows.against import report_against

        report_against(commands.console(), config, against, html, set_ or [])
    elif comparison:
        commands.single("comparison_report", "report", config, out, set_, verbose)
    else:
        commands.single("report", "report", config, out, set_, verbose)


@app.command()
def pretrain(
    config: ConfigFile,
    out: Annotated[
        str | None,
        typer.Option("--out", help="Folder or s3:// URI of the checkpoint (OUT/pretrain)."),
    ] = None,
    set_: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Train the embedded reference policy from generated plays."""
    from qstar_core.store import open_store
    from qstar_core.store.uri import join

    settings = commands.load(config, set_)
    folder = out or join(settings.out, "pretrain")
    open_store(folder).check("out")
    commands.start_prefect(verbose)
    from flows.pretrain import pretrain as flow

    flow(settings, folder)
    commands.console().print(
        f"Checkpoint {folder}\nNext: qstar run {config} --set policy.path={folder}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


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
    commands.console().print(f"Prefect server {state}: {found['ui']}\nNext: qstar down stops it")


@app.command()
def down() -> None:
    """Stop the server that ``up`` started."""
    from flows import server, settings

    settings.apply()
    commands.console().print("Stopped." if server.down() else "No server of qstar was running.")


@app.command()
def version() -> None:
    """Print the version, as --version does."""
    typer.echo(__version__)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
