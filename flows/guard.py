"""How a command ends early: what failed, what is safe, what to type next, and the exit code."""

from __future__ import annotations

import re
import shlex
import signal
import threading
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperGroup

from qstar_core.errors import UserError

USER_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143
ARGUMENTS = "qstar.arguments"
OVERRIDES = ("--out", "--set")
JOINED = ("--out=", "--set=")

FINISHED_SAFE = "finished shards and published data sets are on disk and will be kept"


class Terminated(KeyboardInterrupt):
    """SIGTERM, which batch systems send: the command ends as after Ctrl-C."""


def _terminate(number: int, frame: Any) -> None:
    raise Terminated


class Guarded(TyperGroup):
    """Turns errors that are the user's to mend into a few clear lines and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remembers the arguments, to name the command to go on with."""
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; exit code 2 for the user's errors, 1 after failures, 130 and 143 when
        it is interrupted or terminated."""
        command = shlex.join(["qstar", *ctx.meta[ARGUMENTS]])
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except UserError as error:
            safe, step = error.safe, _filled(error.next_step, ctx)
            title = getattr(error, "title", "Error")
            _explain(error.what, safe, step or command, title)
            code = getattr(error, "exit_code", USER_ERROR)
        except BrokenPipeError:  # the reader of our output has seen enough
            raise
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            what = f"{error.strerror or error}{where}"
            _explain(what, FINISHED_SAFE, f"mend the cause, then {command}")
            code = USER_ERROR
        except KeyboardInterrupt as stop:
            told = isinstance(stop, Terminated)
            what = "terminated" if told else "interrupted"
            _explain(what, FINISHED_SAFE, f"{command}   goes on from there")
            code = TERMINATED if told else INTERRUPTED
        raise typer.Exit(code)


def _filled(step: str, ctx: Any) -> str:
    """The next step with the configuration file of this command, in commands with its overrides."""
    given = ctx.meta[ARGUMENTS][1:]
    files = [a for a in given if a.endswith((".yaml", ".yml"))]
    if not files:
        return step
    overrides = [files[0]]
    for name, value in pairwise(given):
        overrides += [name, value] if name in OVERRIDES else []
    overrides += [a for a in given if a.startswith(JOINED)]
    step = re.sub(r"(qstar [a-z-]+) CONFIG", lambda m: f"{m[1]} {shlex.join(overrides)}", step)
    return step.replace("CONFIG", shlex.quote(files[0]))


def _explain(what: str, safe: str, next_step: str, title: str = "Error") -> None:
    from rich.console import Console

    from flows.tables import say

    lines = [f"{title}: {what}"]
    if safe:
        lines.append(f"Safe: {safe}")
    if next_step:
        lines.append(f"Next: {next_step}")
    console = Console(stderr=True)
    for line in lines:
        head, _, rest = line.partition(":")
        colour = "bold red" if head == "Error" else "bold"
        console.print(f"[{colour}]{head}:[/]", end="")
        say(console, rest)
