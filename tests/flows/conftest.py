"""A tiny run for the flows: an untrained checkpoint, a handful of problems, one Prefect server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from filelock import FileLock

from qstar_core.store import dataset, open_store
from tests.warm import Warm, warm

ROOT = Path(__file__).parents[2]

TINY = """\
name: tiny
out: {out}
domain:
  train_problems: 12
  test_problems: 4
  ranges: {{numbers: 3, min_number: 1, max_number: 5, min_target: 1, max_target: 20}}
policy: {{path: {policy}, batch_size: 16}}
rollouts: {{samples: 4, max_new_tokens: 24, shard_problems: 4}}
qvm: {{epochs: 1.0, batch_size: 8, warmup_steps: 1, bf16: false, holdout: 0.3}}
evaluation:
  max_policy_tokens: 40
  bootstrap_samples: 200
  shard_problems: 2
  report_trees: 2
runtime: {{workers: 2, threads: 1}}
"""

# A test machine may be busy.
PATIENT = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300"}
WIDE = {"COLUMNS": "200"}
COLD = (sys.executable, "-m", "flows.cli")

Qstar = Callable[..., subprocess.CompletedProcess[str]]


def tiny_policy(folder: Path) -> Path:
    """An untrained checkpoint with the reference policy's tokenizer."""
    import torch

    from qstar_core.config import PretrainConfig
    from qstar_core.policies.pretrain import build_model, build_tokenizer, save

    torch.manual_seed(0)
    config = PretrainConfig(hidden_size=16, intermediate_size=32, layers=1, heads=2)
    tokenizer = build_tokenizer()
    save(build_model(config, tokenizer), tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("policy") / "tiny")


@pytest.fixture
def config(tmp_path: Path, policy: Path) -> Path:
    """The YAML file of a run whose results lie below ``tmp_path / "out"``."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.format(out=tmp_path / "out", policy=policy), encoding="utf-8")
    return path


def call(
    *arguments: str | Path, program: tuple[str, ...] = COLD, **env: str
) -> subprocess.CompletedProcess[str]:
    """``qstar ARGUMENTS`` as a user runs it."""
    return subprocess.run(
        [*program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **WIDE, **PATIENT, **env},
        capture_output=True,
        text=True,
        timeout=1800,  # only a hang takes so long, however busy the machine
    )


@pytest.fixture
def qstar(request: pytest.FixtureRequest) -> Qstar:
    """`call`, in processes that have done their imports where it is for the session's server.

    Prefect reads its settings when it is imported, so commands with others of them start as usual.
    """

    def run(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        settings = {name for name in env if name.startswith(("PREFECT_", "PYTHON"))}
        if settings != {"PREFECT_API_URL"} or {"--verbose", "-v"} & set(map(str, arguments)):
            return call(*arguments, **env)
        ready: Warm = request.getfixturevalue("warmed")
        if env["PREFECT_API_URL"] != ready.env["PREFECT_API_URL"]:
            return call(*arguments, **env)
        return call(*arguments, program=(str(ready.programs / "qstar"),), **{**env, **ready.env})

    return run


@pytest.fixture(scope="session")
def warmed(prefect_server: str) -> Iterator[Warm]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**WIDE, **PATIENT}.items():
            patch.setenv(name, value)
        with warm(prefect_server) as ready:
            yield ready


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """The API address of one Prefect server for the session, to be given to `qstar`."""
    from flows import server, settings

    settings.apply()
    os.environ.update(PATIENT)
    embedded = server.Embedded()
    embedded.wait()
    yield embedded.url
    embedded.stop()


@dataclass(frozen=True)
class Finished:
    """A finished tiny run, with Prefect embedded and a home of its own; not to be changed."""

    config: Path
    out: Path
    home: Path
    result: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def finished() -> Finished:
    """One for all processes of the tests, made by the first that asks."""
    folder = Path(os.environ["QSTAR_TEST_HOME"]) / "finished"
    path, out, home = folder / "tiny.yaml", folder / "out", folder / "prefect"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "result.json").exists():
            for left in (out, home):  # by one that failed
                shutil.rmtree(left, ignore_errors=True)
            policy = tiny_policy(folder / "policy")
            path.write_text(TINY.format(out=out, policy=policy), encoding="utf-8")
            result = call("run", path, PREFECT_HOME=str(home))
            assert result.returncode == 0, result.stdout + result.stderr
            told = {"args": result.args, "stdout": result.stdout, "stderr": result.stderr}
            (folder / "result.json").write_text(json.dumps(told), encoding="utf-8")
    told = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return Finished(path, out, home, subprocess.CompletedProcess(returncode=0, **told))


def published(uri: str, table: pa.Table, /, **head: Any) -> str:
    """A data set of one shard with these rows and this of a manifest; its place."""
    file = open_store(uri).scratch() / "part.parquet"
    dataset.write_table(file, table)
    dataset.publish(uri, head, [dataset.finish_shard(uri, "s", [file], {})])
    return uri
