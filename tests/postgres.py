"""A PostgreSQL server of its own for a test, from Debian's packages; no other is touched."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.server import free_port

USER = "postgres"  # the server refuses to run as root
DEBIAN = "/usr/lib/postgresql/*/bin"
PROGRAMS = ("initdb", "pg_ctl")


def why_not() -> str:
    """Why there can be no server here; empty where there can."""
    missing = [name for name in PROGRAMS if program(name) is None]
    if missing:
        return f"{' and '.join(missing)} not found: apt-get install postgresql"
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return f"there is no user {USER}" if os.geteuid() == 0 else ""
    return ""


def program(name: str) -> str | None:
    """The path of a program of PostgreSQL: that on PATH, or that of Debian's newest version."""
    versions = sorted(glob.glob(DEBIAN), key=lambda path: int(path.split("/")[4]))
    return shutil.which(name) or shutil.which(name, path=":".join(reversed(versions)))


@contextmanager
def postgres() -> Iterator[str]:
    """A new server on a free port of 127.0.0.1; the URL of its database for Prefect."""
    folder = Path(tempfile.mkdtemp(prefix="qstar-postgres-"))
    options: dict[str, object] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    if os.geteuid() == 0:
        options["user"] = USER
        shutil.chown(folder, USER)
    data, port = folder / "data", free_port()

    def run(name: str, *arguments: str | Path) -> None:
        command = [str(program(name)), *map(str, arguments)]
        subprocess.run(command, **options)  # type: ignore[call-overload]

    started = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("initdb", "-D", data, "-U", "qstar", "-A", "trust", "--no-sync", "-E", "UTF8")
    run("pg_ctl", "-D", data, "-o", started, "-l", folder / "log", "-w", "-t", "120", "start")
    try:
        yield f"postgresql+asyncpg://qstar@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
