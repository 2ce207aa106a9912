"""``qstar server``: a Prefect server, the deployments and a worker, until Ctrl-C.

For one machine, and to try things; docs/deploying.md says what to start where otherwise. The
database is SQLite below PREFECT_HOME, or the one that PREFECT_API_DATABASE_CONNECTION_URL names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from rich.console import Console

from flows import server, settings
from flows.tables import say
from qstar_core.errors import UserError

POOL = "qstar"
POLL_S = 1.0
END_AFTER_S = 20.0  # then what has not ended is killed
RESTART_AFTER_S = 5.0


def run(console: Console, port: int, file: str) -> None:
    """Starts everything and waits; a worker that ends is started again.

    Raises:
        UserError: the port is taken, the server does not start, or the deployments are wrong.
        KeyboardInterrupt: Ctrl-C, after everything has ended.
    """
    settings.apply()
    port = port or server.free_port()
    page = f"http://127.0.0.1:{port}"
    with _server(port) as serving:
        os.environ["PREFECT_API_URL"] = f"{page}/api"
        from flows.deploy_show import show_deploy

        show_deploy(console, file, dry_run=False)
        with _ended(worker(POOL)) as working:
            say(console, f"Prefect server {page}, worker of the pool {POOL}; Ctrl-C ends both")
            while serving.poll() is None:
                if working[0].poll() is not None:
                    say(console, f"the worker ended with {working[0].returncode}; starting another")
                    time.sleep(RESTART_AFTER_S)
                    working[0] = worker(POOL)
                time.sleep(POLL_S)
    raise UserError(
        f"the Prefect server ended with {serving.returncode}",
        safe="finished shards and published data sets are there and will be kept",
        next_step=f"look at {settings.home() / server.LOG}, then make server",
    )


def worker(pool: str) -> subprocess.Popen[bytes]:
    """A worker of a pool; the runs that it starts are its children.

    Args:
        pool: its name; it has to be there.
    """
    root = str(Path(__file__).parents[1])  # also from a checkout that is not installed
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool],
        env={**os.environ, "PYTHONPATH": path, "PREFECT_LOGGING_LEVEL": "INFO"},
        start_new_session=True,  # Ctrl-C is this process's to handle
    )


@contextmanager
def _server(port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = server.start_standing(port, with_parent=True)
    try:
        server.wait_healthy(f"http://127.0.0.1:{port}/api", process)
        yield process
    finally:
        _end(process)


@contextmanager
def _ended(first: subprocess.Popen[bytes]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Holds the worker that runs now, and ends it on the way out."""
    working = [first]
    try:
        yield working
    finally:
        _end(working[0])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks a process and what it started to end; what is still there after a while is killed."""
    if process.poll() is not None:
        return
    whole = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for each in whole:
        with suppress(psutil.NoSuchProcess):
            each.terminate()
    _, left = psutil.wait_procs(whole, END_AFTER_S)
    for each in left:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
