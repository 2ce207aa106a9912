"""The command line that starts a process in the sandbox, and whether this machine can do it.

bubblewrap (``bwrap``) gives the process a root of its own with the interpreter, its standard
library and the system's libraries, read-only, a small ``/tmp`` in memory, and nothing else: no
home, no ``/etc``, no ``/proc``, no site-packages; namespaces of its own for processes, network,
IPC, names, cgroups and users; no capability. `qstar_core.grading.sandbox_filter` takes away the
system calls that are left. docs/security.md says what all of this covers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

from qstar_core.errors import UserError
from qstar_core.grading import sandbox_filter

TMP_BYTES = 16 * 1024 * 1024
PROBE_TIMEOUT_S = 60.0
ENVIRONMENT = {"PATH": "", "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
"""All that a sandboxed process finds there; the seed makes the order of sets the same each time."""
FLAGS = ("-S", "-s", "-P", "-B", "-X", "utf8")
LENGTH_BYTES = 4
LOADER = (
    "import marshal,sys;f=sys.stdin.buffer;"
    f"g=lambda:marshal.loads(f.read(int.from_bytes(f.read({LENGTH_BYTES}),'little')));"
    "exec(g(),{'__name__':'__main__','REQUEST':g()})"
)
"""What the interpreter is started with: it takes code and its request from standard input.

Each comes with its length before it: ``marshal.load`` would read a file some bytes at a time.
"""
FIRST = "--as-pid-1"
"""Saves a process that would only wait. The first process of a namespace ignores signals that it
has no handler for, but not the end of its processor time, which is a kill."""
INSTALL = "apt-get install bubblewrap"
WEAKER = "or accept the weaker sandbox of docs/security.md: --set runtime.sandbox=rlimits"


def interpreter() -> str:
    """The interpreter itself, not that of a virtual environment."""
    base: str = getattr(sys, "_base_executable", "") or sys.executable
    return os.path.realpath(base)


def bare() -> list[str]:
    """The command of the interpreter without any sandbox."""
    return [interpreter(), *FLAGS, "-c", LOADER]


@cache
def confined() -> tuple[str, ...]:
    """The command of the interpreter in the sandbox, up to ``--seccomp FD``.

    Raises:
        UserError: bubblewrap is missing.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise UserError(
            "generated code cannot be run: bubblewrap (bwrap) is missing",
            safe="no generated code was run",
            next_step=f"{INSTALL}   and run the same command again; {WEAKER}",
        )
    command = [program, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
    command += ["--unshare-uts", "--unshare-cgroup-try", "--uid", "65534", "--gid", "65534"]
    command += ["--hostname", "sandbox", "--cap-drop", "ALL", "--new-session"]
    command += ["--die-with-parent"]
    command += ["--size", str(TMP_BYTES), "--tmpfs", "/tmp"]
    command += _binds()
    command += ["--dev-bind", "/dev/null", "/dev/null", "--remount-ro", "/", "--chdir", "/tmp"]
    return tuple(command)


def _binds() -> list[str]:
    """What of this machine is there: interpreter, standard library, libraries, the loader."""
    binds: list[str] = []
    for place in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"):
        if os.path.islink(place):
            binds += ["--symlink", os.readlink(place), place]
        elif os.path.exists(place):
            binds += ["--ro-bind", place, place]
    libraries = Path(sys.base_prefix) / "lib"
    bound = ["/usr/lib"]
    for place in (str(libraries), sysconfig.get_path("stdlib"), interpreter()):
        if not any(Path(place).is_relative_to(folder) for folder in bound):
            binds += ["--ro-bind", place, place]
            bound.append(place)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = libraries / version / "site-packages"
    if packages.is_dir():  # what the user has installed is nobody's business there
        binds += ["--tmpfs", str(packages), "--remount-ro", str(packages)]
    return binds


@cache
def check() -> None:
    """Makes sure, once per process, that the sandbox starts here.

    Raises:
        UserError: bubblewrap is missing or too old, or this machine does not let it work.
    """
    command = list(confined())
    read, write = os.pipe()
    os.write(write, sandbox_filter.assemble())
    os.close(write)
    command += ["--seccomp", str(read), "--", interpreter(), *FLAGS, "-c", "pass"]
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=ENVIRONMENT,
            pass_fds=(read,),
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
        trouble = ended.stderr.decode(errors="replace").strip() if ended.returncode else ""
        failed = ended.returncode != 0
    except subprocess.TimeoutExpired:
        trouble, failed = f"no answer in {PROBE_TIMEOUT_S:.0f} s", True
    finally:
        os.close(read)
    if not failed:
        return
    step = "allow user namespaces (sysctl user.max_user_namespaces, and on Ubuntu 24.04 "
    step += "kernel.apparmor_restrict_unprivileged_userns=0; in a container its security options)"
    if "nknown option" in trouble:
        step = "install bubblewrap 0.7 or newer"
    raise UserError(
        f"generated code cannot be run: bubblewrap does not work here: {trouble[-300:]}",
        safe="no generated code was run",
        next_step=f"{step} and run the same command again; {WEAKER}",
    )
