"""Runs code that nobody has read, in a process of its own that cannot hurt, leave or outlast.

What a program answers comes back as bytes; whether they are right is decided elsewhere
(`qstar_core.grading.code`). The limits on processor time, memory and files are set inside, before
the program starts; time on the clock, the size of the answer and the end of the process are seen
to from outside. There are two modes:

* ``bwrap``, the default, is bubblewrap with a system call filter (`sandbox_command`). Where it
  cannot work, nothing is run.
* ``rlimits``, only where the user asks for it by name, is the limits and a stricter filter alone:
  the program can read what the user can read, but write, send and start nothing.

docs/security.md says what is covered and what is not.
"""

from __future__ import annotations

import marshal
import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any, Literal, get_args

from qstar_core.errors import UserError
from qstar_core.grading import sandbox_command, sandbox_filter

Mode = Literal["bwrap", "rlimits"]
MODE = "QSTAR_SANDBOX"
"""Environment variable that hands the mode on to worker processes."""
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Exit codes of a process that was killed: its own, and bubblewrap's word for it."""
READ_BYTES = 65536
TROUBLE_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process may use.

    Attributes:
        cpu_s: processor time, seconds.
        wall_s: time on the clock, seconds.
        memory_bytes: of its address space.
        file_bytes: of one file.
        files: open at once.
        answer_bytes: that it may send back.
    """

    cpu_s: int = 15
    wall_s: float = 60.0
    memory_bytes: int = 1024**3
    file_bytes: int = 8 * 1024**2
    files: int = 64
    answer_bytes: int = 1024**2

    def resources(self) -> list[tuple[int, int]]:
        """For ``setrlimit`` inside; both the soft and the hard limit."""
        return [
            (resource.RLIMIT_CPU, self.cpu_s),
            (resource.RLIMIT_AS, self.memory_bytes),
            (resource.RLIMIT_FSIZE, self.file_bytes),
            (resource.RLIMIT_NOFILE, self.files),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MEMLOCK, 0),
        ]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a sandboxed process ended.

    Attributes:
        answer: what it sent back, as much of it as was allowed.
        code: its exit code, negative for a signal; 128 + signal where bubblewrap says so.
        timeout: it was killed for its time, on the clock or of the processor.
        overflow: it was killed for the size of its answer.
        trouble: what was said on standard error before the code started.
    """

    answer: bytes
    code: int
    timeout: bool
    overflow: bool
    trouble: str


def use(mode: Mode | None) -> None:
    """Says how code is run in this process and the ones it starts.

    Args:
        mode: None leaves what the environment says.

    Raises:
        UserError: the environment says something else than a mode.
    """
    if mode is not None:
        os.environ[MODE] = mode
    current()


def current() -> Mode:
    """The mode in force.

    Raises:
        UserError: the environment says something else than a mode.
    """
    mode = os.environ.get(MODE, "bwrap")
    if mode == "bwrap":
        return "bwrap"
    if mode == "rlimits":
        return "rlimits"
    raise UserError(
        f"{MODE}: {mode!r} is no sandbox; it may be {' or '.join(get_args(Mode))}",
        next_step=f"unset {MODE}",
    )


@cache
def source(name: str) -> CodeType:
    """The compiled code of a module of this folder that runs inside."""
    path = Path(__file__).with_name(f"{name}.py")
    return compile(path.read_text(encoding="utf-8"), f"<{name}>", "exec", dont_inherit=True)


@cache
def _code(name: str) -> bytes:
    return _framed(source(name))


def _framed(value: Any) -> bytes:
    """As `sandbox_command.LOADER` takes it."""
    content = marshal.dumps(value)
    return len(content).to_bytes(sandbox_command.LENGTH_BYTES, "little") + content


@cache
def _filter(files: bool) -> bytes:
    return sandbox_filter.assemble(files=files)


def _memory_file(*contents: bytes) -> int:
    """A descriptor of a file in memory, to be read from its start."""
    descriptor = os.memfd_create("qstar", os.MFD_CLOEXEC)
    for content in contents:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def start(
    name: str, request: Mapping[str, Any], *, lasting: bool = False
) -> subprocess.Popen[bytes]:
    """Starts code of this folder in a sandbox.

    Args:
        name: of the module; see `source`.
        request: what it is given, plain data; with ``filter`` for one that has to set it itself.
        lasting: the process goes on reading its standard input, a pipe, and ends with that.

    Raises:
        UserError: there is no sandbox on this machine.
    """
    weak = current() == "rlimits"
    own_filter = _filter(False) if weak and not lasting else b""
    given = _code(name), _framed({**request, "filter": own_filter})
    if weak:
        return _popen(sandbox_command.bare(), given, lasting, ())
    sandbox_command.check()
    filtered = _memory_file(_filter(True))
    try:
        command = [*sandbox_command.confined(), "--seccomp", str(filtered)]
        # what lasts is ended by a timer's signal
        command += ["--"] if lasting else [sandbox_command.FIRST, "--"]
        return _popen([*command, *sandbox_command.bare()], given, lasting, (filtered,))
    finally:
        os.close(filtered)


def _popen(
    command: list[str], given: tuple[bytes, ...], lasting: bool, descriptors: tuple[int, ...]
) -> subprocess.Popen[bytes]:
    stdin = subprocess.PIPE if lasting else _memory_file(*given)
    try:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if lasting else subprocess.PIPE,
            env=sandbox_command.ENVIRONMENT,
            cwd="/",
            pass_fds=descriptors,
            start_new_session=True,
        )
    finally:
        if stdin != subprocess.PIPE:
            os.close(stdin)
    if lasting and process.stdin is not None:
        process.stdin.write(b"".join(given))
        process.stdin.flush()
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a sandbox with all that is in it; it has its own process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run(name: str, request: Mapping[str, Any], limits: Limits) -> Ended:
    """Runs code of this folder in a sandbox to its end.

    Args:
        name: of the module; see `source`.
        request: what it is given, plain data.
        limits: of the process.

    Raises:
        UserError: there is no sandbox on this machine.
        OSError: the process could not be started.
    """
    process = start(name, {**request, "limits": limits.resources()})
    began = time.monotonic()
    try:
        answer, trouble, killed = _watch(process, began + limits.wall_s, limits.answer_bytes)
    finally:
        kill(process)  # it has ended, or it has to; its number is not free before it is waited for
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    # one thread cannot use more processor time than passes on the clock
    spent = process.returncode in KILLED and time.monotonic() - began >= limits.cpu_s - 0.5
    late, overflow = killed == "time", killed == "answer"
    text = trouble.decode(errors="replace").strip()
    return Ended(answer, process.returncode, late or spent, overflow, text)


def _watch(process: subprocess.Popen[bytes], until: float, most: int) -> tuple[bytes, bytes, str]:
    """Reads what a process sends until it ends, its time is over or it has sent too much.

    Returns:
        The answer, what it said on standard error, and why it has to be killed: ``"time"``,
        ``"answer"`` or nothing.
    """
    if process.stdout is None or process.stderr is None:
        raise ValueError("a process without pipes")
    answer, trouble = bytearray(), bytearray()
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            for stream in (process.stdout, process.stderr):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream.fileno(), selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while True:
                ready = [key.fd for key, _ in selector.select(max(0.0, until - time.monotonic()))]
                for fd, kept in (
                    (process.stdout.fileno(), answer),
                    (process.stderr.fileno(), trouble),
                ):
                    if (fd in ready or ended in ready) and not _read(fd, kept, most + 1):
                        with suppress(KeyError):
                            selector.unregister(fd)
                if len(answer) > most:
                    return bytes(answer[:most]), bytes(trouble[:TROUBLE_BYTES]), "answer"
                if ended in ready:
                    return bytes(answer), bytes(trouble[:TROUBLE_BYTES]), ""
                if time.monotonic() >= until:
                    return bytes(answer), bytes(trouble[:TROUBLE_BYTES]), "time"
    finally:
        os.close(ended)


def _read(descriptor: int, kept: bytearray, most: int) -> bool:
    """Reads what there is, up to a length in all; False at the end of the stream."""
    while len(kept) < most:
        try:
            block = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return True
        if not block:
            return False
        kept += block
    return True
