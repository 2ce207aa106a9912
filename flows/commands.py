"""What the commands share: reading the configuration, starting Prefect, running stages.

What is heavy is imported inside the function that needs it.
"""

from __future__ import annotations

import datetime
import json
import shlex
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flows import notes

NO_POOLS = (
    "Note: the configuration has no pools. One of continuations of all states is made; labels are "
    'made from it once CONFIG says "pools: [{kind: states}]"'
)

if TYPE_CHECKING:
    from rich.console import Console

    from qstar_core.config import RunConfig


def whole(
    command: str,
    path: str,
    plan: bool,
    out: str | None,
    overrides: list[str] | None,
    verbose: bool,
    day: datetime.date | None = None,
) -> None:
    """Runs ``qstar run`` or ``qstar compare``: all stages of its plan that are not there yet.

    With a ``day`` it is the run of a partition, and leaves a record.
    """
    from flows import inspect
    from qstar_core import pipeline

    config = load(path, overrides, out, day)
    compares = command == "compare"
    screen = console()
    notes.say_defaults(screen, config)
    notes.say_fit(screen, config)
    absent = dict[str, str]()
    if plan:
        from qstar_core.policies.stand_ins import with_stand_ins

        config, absent = with_stand_ins(config)
    if compares:
        rounds = [pipeline.Round(1, config, pipeline.plan_comparison(config))]
        notes.say_training(screen, rounds[0].stages)
    else:
        rounds = pipeline.rounds(config)
    if plan:
        from flows.tables import plan_table, say

        rows = inspect.plan_rows(rounds)
        screen.print(plan_table(rows, config.runtime.tokens_per_second, keys=not absent))
        say(screen, *inspect.places(rows))
        notes.say_absent(screen, absent)
        return
    manifests = inspect.all_made(rounds)
    begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    if manifests is None:
        start_prefect(verbose)
        if compares:
            from flows.compare import compare as flow
        else:
            from flows.nightly import nightly as flow
        manifests = flow(config)
    else:
        screen.print(f"Everything is already there: {len(manifests)} data sets.\n")
    if day is not None:
        from flows.night_record import say_record

        say_record(screen, config, day, manifests, begun)
    given = [*(["--out", out] if out else []), *(w for o in overrides or [] for w in ("--set", o))]
    given += ["--date", day.isoformat()] if day is not None else []
    again = shlex.join(["qstar", command, path, *given])
    if compares:
        from flows.sweeps import show_end
    else:
        from flows.inspect import show_end
    last = rounds[-1]
    notes.say_rounds(screen, last.stages)
    if len(rounds) > 1:
        inspect.show_rounds(screen, rounds, manifests)
    show_end(screen, config, {n: manifests[last.label(n)] for n in last.stages}, again)
    notes.say_doubts(screen, last.stages)
    notes.say_retries(screen)


def single(
    stage: str, flow: str, path: str, out: str | None, overrides: list[str] | None, verbose: bool
) -> None:
    """Runs the flow of one stage, in the file ``flows.{flow}``, unless its data set is there."""
    make(stage, flow, load(path, overrides, out), verbose)


def train_qvm(
    path: str,
    out: str | None,
    overrides: list[str] | None,
    verbose: bool,
    method: str | None,
    rounds: int | None,
) -> None:
    """Runs ``qstar train-qvm``, with a label method and rounds of fitted Q iteration if given.

    Raises:
        UserError: rounds of another method.
    """
    from qstar_core.errors import UserError

    chosen = {"labels.method": method, "labels.rounds": rounds}
    given = [f"{field}={value}" for field, value in chosen.items() if value is not None]
    config = load(path, [*(overrides or []), *given], out)
    if rounds is not None and config.labels.method != "fitted_q":
        raise UserError(
            f"--rounds {rounds}: {config.labels.method} has no rounds, only fitted_q has",
            next_step=f"qstar train-qvm {path} --method fitted_q --rounds {rounds}",
        )
    make("qvm", "train_qvm", config, verbose)


def import_rollouts(
    file: str,
    domain: str | None,
    path: str | None,
    out: str | None,
    overrides: list[str] | None,
    verbose: bool,
) -> None:
    """Makes problems and rollouts from a file of texts, with a configuration or without one."""
    from qstar_core.config_file import default_config

    given = [*(overrides or []), f"rollouts.import_file={json.dumps(file, ensure_ascii=False)}"]
    if path is None:
        given.insert(0, f"domain.name={json.dumps(domain or 'gsm8k')}")
        config = default_config(given, out)
    else:
        given += [f"domain.name={json.dumps(domain)}"] if domain else []
        config = load(path, given, out)
    make("rollouts", "rollouts", config, verbose)


def make(stage: str, flow: str, config: RunConfig, verbose: bool) -> dict[str, Any]:
    """Runs the flow of one stage unless its data set is there; returns its manifest."""
    from flows.inspect import show_stage_end
    from qstar_core import pipeline

    if stage == "comparison_report":
        stages = pipeline.plan_comparison(config)
    elif stage == "sft":
        stages = pipeline.plan_policy(config)
    else:
        stages = pipeline.plan(config, until=stage)
    found = stages.get(stage)
    manifest = pipeline.published(found) if found is not None else None
    screen = console()
    notes.say_defaults(screen, config)
    notes.say_fit(screen, config)
    if manifest is not None:
        screen.print(f"{stage} is already there.")
    else:
        if found is not None:  # a missing input is said before Prefect is started
            first = pipeline.made_first(stages, stage)
            for name in (*first, stage):
                pipeline.check_inputs(stages[name], first)
        start_prefect(verbose)
        name = "report_comparison" if stage == "comparison_report" else flow
        manifest = getattr(import_module(f"flows.{flow}"), name)(config)
    if stage == "qvm":
        notes.say_rounds(screen, stages)
    show_stage_end(screen, stage, manifest)
    if stage in ("qvm", "evaluation", "comparison_report"):
        notes.say_doubts(screen, stages)
    notes.say_retries(screen)
    made: dict[str, Any] = manifest
    return made


def pools(path: str, out: str | None, overrides: list[str] | None, verbose: bool) -> None:
    """Runs ``qstar rollouts --from-states``: problems, rollouts and the pools of the run.

    A configuration without pools gets one of kind states, which no label of its run is made from.
    """
    from flows.inspect import all_published, show_stage_end
    from flows.tables import say
    from qstar_core import pipeline
    from qstar_core.config import PoolConfig

    config = load(path, overrides, out)
    screen = console()
    notes.say_defaults(screen, config)
    notes.say_fit(screen, config)
    if not config.pools:
        config = config.model_copy(update={"pools": [PoolConfig(kind="states")]})
        say(screen, NO_POOLS)
    stages = pipeline.plan(config, until="labels")
    wanted = {name: stage for name, stage in stages.items() if stage.kind == "pool"}
    manifests = all_published(wanted)
    if wanted and manifests is not None:
        say(screen, f"{', '.join(wanted)}: already there.")
    else:
        start_prefect(verbose)
        from flows.rollouts import pools as flow

        manifests = flow(config)
    for name, manifest in manifests.items():
        show_stage_end(screen, name, manifest)
    notes.say_retries(screen)


def load(
    path: str,
    overrides: list[str] | None,
    out: str | None = None,
    day: datetime.date | None = None,
) -> RunConfig:
    """The configuration with its overrides, and the date of its partition if it has one."""
    from qstar_core.config_file import load_config

    return load_config(path, overrides, out, day)


def start_prefect(verbose: bool) -> None:
    """Settings, server and logging of Prefect; the server starts while Prefect is imported."""
    from flows import server, settings

    settings.apply(verbose)
    embedded = server.connect()
    from flows.logs import configure

    configure(verbose)
    if embedded is not None:
        embedded.wait()


def console() -> Console:
    """Standard output."""
    from rich.console import Console

    return Console()
