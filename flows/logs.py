"""Logging of a command: Prefect records everything, the console shows what a person needs."""

from __future__ import annotations

import logging

from prefect.logging.configuration import setup_logging

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
