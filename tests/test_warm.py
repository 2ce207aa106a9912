"""Forked commands are what commands are: arguments, streams, folder, exit code, end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import warm as module
from tests.processes import ended, wait_until
from tests.warm import Warm, warm


@pytest.fixture(scope="module")
def ready() -> Iterator[Warm]:
    """A server that has imported nothing: what it imports is tested by the pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(module.WITHOUT, "1")
        with warm("http://127.0.0.1:9/api") as found:
            yield found


def call(ready: Warm, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **ready.env, "PATH": f"{ready.programs}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=600
    )


def test_streams_folder_environment_and_exit_code(ready: Warm, tmp_path: Path) -> None:
    code = "import os, sys; print(sys.stdin.read(), os.getcwd(), os.environ['A']); sys.exit(3)"
    done = call(ready, tmp_path, f'echo in | A=1 python -c "{code}"')
    assert (done.returncode, done.stdout.split()) == (3, ["in", str(tmp_path), "1"])


def test_an_error_is_said_as_by_an_interpreter(ready: Warm, tmp_path: Path) -> None:
    done = call(ready, tmp_path, "python -c 'raise OSError(\"of ours\")'")
    assert done.returncode == 1 and "OSError: of ours" in done.stderr
    done = call(ready, tmp_path, "python -c 'import sys; sys.exit(\"of ours\")'")
    assert (done.returncode, done.stderr) == (1, "of ours\n")


def test_qstar_and_files_and_modules(ready: Warm, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import sys; print(__name__, sys.argv[1:])")
    done = call(ready, tmp_path, "python own.py a; python -m own b; qstar --version; qstar nothing")
    assert done.stdout.splitlines()[:2] == ["__main__ ['a']", "__main__ ['b']"]
    assert done.returncode == 2 and "No such command" in done.stderr


def test_a_command_ends_with_its_client(ready: Warm, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    )
    script = "python own.py & until [ -s pid ]; do sleep 0.1; done; kill -9 $!; cat pid"
    pid = int(call(ready, tmp_path, script).stdout)

    wait_until(lambda: ended(pid), "the end of the command")
