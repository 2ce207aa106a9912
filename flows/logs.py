"""Logging of a command: Prefect records everything, the console shows what a person needs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

from prefect.logging.configuration import setup_logging
from prefect.logging.handlers import PrefectConsoleHandler

QUIET = ("prefect.flow_runs", "prefect.task_runs")


def configure(verbose: bool) -> None:
    """Sets up Prefect's logging.

    Unless ``verbose``, the logs of flow and task runs, tracebacks of failed ones among them, go
    to Prefect's database only: what a person has to know is in the error that ends the command.
    """
    setup_logging()
    for name in QUIET:
        logging.getLogger(name).propagate = verbose
    if verbose:
        show_progress()


def show_progress() -> None:
    """Lets the lines of qstar's own loggers through, which a root logger at WARNING holds back."""
    logging.getLogger("qstar_core").setLevel(logging.INFO)


def outlive_worker() -> None:
    """Lets a run go on when the worker that reads its console has died; Prefect has its log.

    Prefect's console is rich's, which ends a process whose output nobody reads any more.
    """
    for handler in _handlers():
        if isinstance(handler, PrefectConsoleHandler):
            handler.console.on_broken_pipe = _write_nowhere  # type: ignore[method-assign]


def _write_nowhere() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _handlers() -> Iterator[logging.Handler]:
    yield from logging.root.handlers
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            yield from logger.handlers
