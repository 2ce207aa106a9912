"""Commands as processes that need not import torch, transformers and Prefect again.

A server imports them once. For each command that a page's shell or a test starts it forks one,
which gets the command's arguments, folder, environment and standard streams, and runs its program
from the beginning: ``qstar``, ``prefect``, or ``python`` with -c, -m or a file. The workers that a
command starts come the same way. So a command takes a second of processor time, not ten.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROGRAMS = ("qstar", "prefect", "python")
IMPORTED = (
    *("flows.cli", "flows.nightly", "flows.compare", "flows.inspect", "flows.tables"),
    *("transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto"),
    *("qstar_core.jobs", "qstar_core.values.train", "qstar_core.sft.train", "qstar_core.store.s3"),
    *("qstar_core.policies.transformers", "qstar_core.values.score"),
)
WITHOUT = "QSTAR_WARM_WITHOUT"  # in the environment: nothing is imported
CLIENT = """\
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect(os.environ["QSTAR_WARM"])
asked = json.dumps({"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ)})
socket.send_fds(server, [asked.encode() + b"\\n"], [0, 1, 2])
os.close(0)
sys.exit(int(server.makefile().read() or 1))
"""


@dataclass(frozen=True)
class Warm:
    """A server: the folder of its programs, for PATH, and the environment that they need."""

    programs: Path
    env: dict[str, str]


@contextlib.contextmanager
def warm(prefect: str) -> Iterator[Warm]:
    """Starts a server for a Prefect server; ends it and whatever it has started."""
    with tempfile.TemporaryDirectory(prefix="qstar-warm-") as name:
        folder = Path(name)
        for program in PROGRAMS:
            (folder / program).write_text(f"#!{sys.executable} -IS\n{CLIENT}", encoding="utf-8")
            (folder / program).chmod(0o755)
        env = {"QSTAR_WARM": str(folder / "socket"), "PREFECT_API_URL": prefect}
        env |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(folder)],
            env={**os.environ, **env},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout and process.stdin
        try:
            assert process.stdout.readline() == b"ready\n"
            yield Warm(folder, env)
        finally:
            process.stdin.close()
            process.wait()
            with contextlib.suppress(ProcessLookupError):  # what a command has left
                os.killpg(process.pid, signal.SIGKILL)


def serve(folder: Path) -> dict[str, Any] | None:
    """Forks for each command until standard input ends; returns what is asked, in the fork."""
    from flows import settings

    settings.apply()  # before Prefect is imported
    for module in () if WITHOUT in os.environ else IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # no process looks again at what it shares with this one
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    print("ready", flush=True)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        client, _ = listener.accept()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork() == 0:
            listener.close()
            return _received(client, folder)
        client.close()
    return None


def _received(client: socket.socket, folder: Path) -> dict[str, Any]:
    """In a process that waits for the command's and ends it when its client is gone."""
    parts, streams = b"", list[int]()
    while not parts.endswith(b"\n"):
        part, found, _, _ = socket.recv_fds(client, 1 << 20, 3)
        parts, streams = parts + part, streams + found
        if not part:
            os._exit(1)
    child = os.fork()
    if child == 0:
        client.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        asked: dict[str, Any] = json.loads(parts)
        return {**asked, "python": str(folder / "python")}
    for stream in (*streams, 0):
        os.close(stream)
    over = os.pidfd_open(child)
    if over not in select.select([client.fileno(), over], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):
        client.sendall(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


def run(asked: dict[str, Any]) -> None:
    """Runs a program as an interpreter of its own would."""
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.executable = asked["python"]
    program, *rest = asked["argv"]
    if Path(program).name == "qstar":
        from flows.cli import main

        sys.argv = asked["argv"]
        main()
    if Path(program).name == "prefect":
        rest = ["-m", "prefect", *rest]
    sys.path.insert(0, "")
    if rest[0] == "-c":
        sys.argv = ["-c", *rest[2:]]
        exec(compile(rest[1], "<string>", "exec"), {"__name__": "__main__"})
    elif rest[0] == "-m":
        sys.argv = rest[1:]
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = rest
        runpy.run_path(rest[0], run_name="__main__")


def ended(asked: dict[str, Any]) -> int:
    """Runs a program, and all that an interpreter does at its end but taking itself apart, which
    would touch and so copy what is shared with the server; returns the exit code."""
    code: Any = 0
    try:
        run(asked)
    except SystemExit as stop:
        code = stop.code
    except BaseException:  # whatever it is, the interpreter would say so and end
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if isinstance(code, str):
        os.write(2, f"{code}\n".encode())
        return 1
    return int(code or 0)


if __name__ == "__main__":
    command = serve(Path(sys.argv[1]))
    if command is not None:
        os._exit(ended(command))
