"""The code blocks of README.md and of the reference pages run, on small data.

Block by block in the order of the pages, in one folder: tests/docs/shop.py says what is in it,
words.py what stands for KEY or CONFIG. `qstar`, `prefect` and `python` are processes that begin
with their imports done (warm.py). A block that cannot run says why before it: ``<!-- not run:
REASON -->``. The tutorial and the how-tos run in test_blocks.py, with nothing of that.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.completions_server import Script, serving
from tests.deployed import clear
from tests.docs.pages import PAGES, Block, blocks
from tests.docs.shop import at, furnish, missing
from tests.docs.test_blocks import RUN
from tests.docs.words import KNOWN, filled
from tests.s3 import S3Server
from tests.warm import warm

PREFECT = "http://127.0.0.1:4200/api"
ON_S3 = "s3://qstar/demo"
FIRST = (
    "qstar run deployments/demo.yaml",
    "qstar label mine.yaml --set labels.method=mean_of_rollouts",
    "qstar run lastweek.yaml",
    "python -c 'from tests.models import *; copytree(tiny_text_policy(2048), \"text-policy\")'",
)
"""What the reader of any page has done before."""
BEFORE = {"deploying.md": "qstar deploy"}
"""What `make server` does, which runs until Ctrl-C."""
FUNCTIONS = 'nth() { python -m tests.docs.shop "$@"; }\n'
ALL = [
    block
    for page in PAGES
    if page not in RUN
    for block in blocks(page)
    if (block.kind in ("shell", "python") and block.excuse is None) or block.file
]


@dataclass
class Reader:
    """A folder, how commands are run in it, and what the pages have shown so far."""

    folder: Path
    env: dict[str, str]
    prefect: str
    servers: list[str]
    code: defaultdict[Path, str] = field(default_factory=lambda: defaultdict(str))
    seen: set[Path] = field(default_factory=set)
    uploaded: bool = False

    def run(self, *command: str) -> str:
        """Runs a command, and says all of its output if it fails."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def shell(self, text: str) -> str:
        """Runs a script as a page's shell block."""
        text = at(text.replace(PREFECT, self.prefect), self.servers)
        return self.run("bash", "-euo", "pipefail", "-c", FUNCTIONS + text)

    def python(self, block: Block) -> None:
        """Runs a block after those of its page that come before it."""
        name = block.page.name
        before = self.code[block.page] or filled(KNOWN.get(name, ""), name, self.folder)
        self.code[block.page] = before + filled(block.text, name, self.folder) + "\n"
        self.run("python", "-c", self.code[block.page])


@pytest.fixture(scope="module")
def reader(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: str, s3_server: S3Server
) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reference") / "checkout"
    folder.mkdir()
    s3_server.bucket("qstar")
    with contextlib.ExitStack() as stack:
        model = Script(models=("meta-llama/Llama-3.1-8B",))
        servers = [stack.enter_context(serving(model)) for _ in range(2)]
        ready = stack.enter_context(warm(prefect_server))
        furnish(folder, servers)
        (folder / ".venv").mkdir()
        (folder / ".venv" / "bin").symlink_to(ready.programs)
        own = {"KEY": "secret", "HOOK": "http://127.0.0.1:9/nobody"}
        own |= {"QSTAR_HOME": str(folder), "COLUMNS": "160", "TMPDIR": str(folder.parent)}
        path = f"{ready.programs}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, **s3_server.env(), **ready.env, **own, "PATH": path}
        found = Reader(folder, env, prefect_server, servers)
        for command in FIRST:
            found.shell(command)
        yield found
        if any(page.name in BEFORE for page in found.seen):
            forget(prefect_server)


def forget(prefect: str) -> None:
    """Removes what the pages have made on the Prefect server of all tests."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect}), get_client(sync_client=True) as client:
        clear(client)
        for document in client.read_block_documents_by_type("slack-webhook"):
            client.delete_block_document(document.id)


def upload(server: S3Server, folder: Path) -> None:
    """Puts the results of the demo where pages say that they are on S3 too."""
    import boto3

    client = boto3.client("s3", **server.client())
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            client.upload_file(str(file), "qstar", f"demo/{file.relative_to(folder)}")


@pytest.mark.slow
@pytest.mark.parametrize("block", ALL, ids=lambda block: block.where)
def test_a_block_runs(block: Block, reader: Reader, s3_server: S3Server) -> None:
    if block.file is not None:
        (reader.folder / block.file).write_text(block.text, encoding="utf-8")
    if block.kind not in ("shell", "python"):
        return
    if lacking := missing(block.text):
        pytest.skip(lacking)
    if block.page.name in BEFORE and block.page not in reader.seen:
        reader.shell(BEFORE[block.page.name])
    if ON_S3 in block.text and block.page.name != "README.md" and not reader.uploaded:
        upload(s3_server, reader.folder / "results" / "demo")
        reader.uploaded = True
    reader.seen.add(block.page)
    if block.kind == "python":
        reader.python(block)
    else:
        reader.shell(filled(block.text, block.page.name))
