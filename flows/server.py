"""The local Prefect server: embedded for the time of a command, or standing after ``qstar up``.

Nothing here imports Prefect: the embedded server starts while this process still imports it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from flows import settings
from qstar_core.errors import UserError

STATE = "qstar-server.json"
LOG = "qstar-server.log"
TIMEOUT_SETTING = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.1


class Embedded:
    """A server that lives as long as this process; started at once, awaited later."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        extra = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
        self._process = _start(self.port, extra, with_parent=True)
        atexit.register(self.stop)  # before Prefect's own exit handlers are registered: runs last

    def wait(self) -> None:
        """Waits until the server answers.

        Raises:
            UserError: it does not.
        """
        wait_healthy(self.url, self._process)

    def stop(self) -> None:
        """Ends the server; it notices the end of its standard input."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        _end(self._process)


def connect() -> Embedded | None:
    """Finds the server of this command and sets PREFECT_API_URL for it.

    In order: the user's own (environment or profile), the one of ``qstar up``, an embedded one.

    Returns:
        The embedded server that was started, which must be awaited; None for the others.
    """
    if settings.configured_api_url():
        return None
    running = state()
    if running is not None:
        os.environ["PREFECT_API_URL"] = running["api"]
        return None
    server = Embedded()
    os.environ["PREFECT_API_URL"] = server.url
    return server


def use_standing() -> str:
    """Takes the standing Prefect server: the user's own, or that of ``qstar up``; its API address.

    Raises:
        UserError: there is none.
    """
    settings.apply()
    url = settings.configured_api_url()
    running = state() if url is None else None
    if url is None and running is None:
        raise UserError(
            "no Prefect server: PREFECT_API_URL is not set, no profile names one, and qstar up "
            "has started none",
            next_step="make server, or export PREFECT_API_URL=http://HOST:4200/api",
        )
    found = str(url or (running or {})["api"])
    os.environ["PREFECT_API_URL"] = found
    return found


def state() -> dict[str, Any] | None:
    """What `up` wrote about a server that is still alive and answers, else None."""
    try:
        found: dict[str, Any] = json.loads((settings.home() / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if _ours(found) is not None and healthy(found["api"]) else None


def up(port: int) -> tuple[dict[str, Any], bool]:
    """Starts a server with its web page that outlives this command.

    Args:
        port: of 127.0.0.1; 0 takes a free one.

    Returns:
        Its state (pid, api, ui) and whether it was started now.

    Raises:
        UserError: the port is taken, or the server does not start.
    """
    running = state()
    if running is not None:
        return running, False
    port = port or free_port()
    page = f"http://127.0.0.1:{port}"
    process = start_standing(port)
    wait_healthy(f"{page}/api", process)
    found = {"pid": process.pid, "api": f"{page}/api", "ui": page}
    (settings.home() / STATE).write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found, True


def start_standing(port: int, with_parent: bool = False) -> subprocess.Popen[bytes]:
    """Starts a server with its web page; `wait_healthy` waits for it.

    Args:
        port: of 127.0.0.1.
        with_parent: whether it ends with this process, however that ends.

    Raises:
        UserError: the port is taken.
    """
    if not _is_free(port):
        raise UserError(f"port {port} of 127.0.0.1 is taken", next_step="take --port 0")
    extra = {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
    }
    return _start(port, extra, with_parent=with_parent)


def down() -> bool:
    """Stops the server of `up`; returns whether there was one."""
    path = settings.home() / STATE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    process = _ours(found)
    if process is not None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except psutil.TimeoutExpired:
            process.kill()
    path.unlink(missing_ok=True)
    return process is not None


def healthy(api: str) -> bool:
    """Whether a server answers at an API address."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{api}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _start(port: int, extra: dict[str, str], *, with_parent: bool) -> subprocess.Popen[bytes]:
    settings.home().mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PREFECT__SERVER_FINAL": "1", **extra}
    # The root of this package, so that it also starts from a checkout that is not installed.
    root = str(Path(__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    argv = [sys.executable, "-m", "flows.serve", str(port)]
    with (settings.home() / LOG).open("ab") as log:
        return subprocess.Popen(
            [*argv, "--with-parent"] if with_parent else argv,
            env=environment,
            stdin=subprocess.PIPE if with_parent else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is this process's to handle
        )


def wait_healthy(api: str, process: subprocess.Popen[bytes]) -> None:
    """Waits until a server that was started answers.

    Raises:
        UserError: it ended, or does not answer.
    """
    timeout_s = float(os.environ.get(TIMEOUT_SETTING, START_TIMEOUT_S))
    end = time.monotonic() + timeout_s
    while not healthy(api):
        code = process.poll()
        if code is not None or time.monotonic() > end:
            _end(process)
            how = f"gave no answer for {timeout_s:g} s" if code is None else f"ended with {code}"
            raise UserError(
                f"the local Prefect server {how}; its log: {settings.home() / LOG}",
                safe="nothing was started, all data sets are as they were",
                next_step=f"look at the log; on a busy machine set {TIMEOUT_SETTING}=600",
            )
        time.sleep(POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_TIMEOUT_S if process.stdin is not None else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ours(found: dict[str, Any]) -> psutil.Process | None:
    """The process that a state file names, if it still is our server."""
    try:
        process = psutil.Process(int(found["pid"]))
        return process if "flows.serve" in process.cmdline() else None
    except (psutil.Error, KeyError, ValueError):
        return None
