"""``qstar rollouts`` with two ``vllm serve``, of which one is killed; the key stays secret."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import polars as pl
import pytest

from tests import vllm_server
from tests.processes import wait_until
from tests.vllm_server import VllmServer, vllm_servers

from .conftest import ROOT, Qstar

WRONG = "a-wrong-key"
PROBLEMS, SAMPLES = 40, 16
EQUAL = 0.98  # share of rows that must be equal in another batch; vLLM promises none


def kill_after_first_shard(out: Path, server: VllmServer) -> None:
    wait_until(lambda: any(out.glob("rollouts/*/shards/*.json")), "the first shard")
    server.kill()


@pytest.mark.slow
@pytest.mark.skipif(bool(vllm_server.MISSING), reason=vllm_server.MISSING)
def test_rollouts_from_servers(qstar: Qstar, prefect_server: str, tmp_path: Path) -> None:
    frames = {}
    with vllm_servers(2) as servers:
        key = servers[0].key
        urls = ", ".join(server.url for server in servers)
        sets = [
            "policy.backend=server",
            "policy.dtype=float32",
            f"policy.server.urls=[{urls}]",
            "policy.server.api_key_env=FLEET_KEY",
            f"domain.train_problems={PROBLEMS}",
            f"rollouts.samples={SAMPLES}",
            "rollouts.shard_problems=10",
        ]
        for name, key_given in (("refused", WRONG), ("whole", key), ("killed", key)):
            out = tmp_path / name
            flags = [part for one in [*sets, f"out={out}"] for part in ("--set", one)]
            if name == "killed":
                threading.Thread(target=kill_after_first_shard, args=(out, servers[1])).start()
            config = ROOT / "deployments" / "demo.yaml"
            env = {"PREFECT_API_URL": prefect_server, "FLEET_KEY": key_given}
            verbose = ["--verbose"] if name != "refused" else []
            result = qstar("rollouts", config, *verbose, *flags, **env)
            assert key not in result.stdout + result.stderr
            if name == "refused":
                assert result.returncode == 2, result.stderr
                assert "FLEET_KEY" in result.stderr and "Traceback" not in result.stderr
                assert WRONG not in result.stdout + result.stderr
                continue
            assert result.returncode == 0, result.stderr
            (folder,) = (out / "rollouts").iterdir()
            frames[name] = pl.read_parquet(folder / "part-*.parquet")
            manifest = json.loads((folder / "manifest.json").read_text())
            assert manifest["figures"]["drift"]["replayed"] > 0
            told = [shard["figures"]["servers"] for shard in manifest["shards"]]
            assert all(engine.startswith("vllm ") for each in told for engine in each["engines"])
            assert (name == "killed") == any(each["tried_again"] for each in told), told
        sets += [
            "qvm.path=reference:countdown-qvm",
            "domain.test_problems=6",
            "evaluation.max_policy_tokens=60",
            "runtime.workers=1",
            f"out={tmp_path / 'searched'}",
        ]
        flags = [part for one in sets for part in ("--set", one)]
        result = qstar("run", config, *flags, **env)
        assert result.returncode == 0, result.stderr
        assert "best-of-N" in result.stdout
    assert len(frames["whole"]) == len(frames["killed"]) == PROBLEMS * SAMPLES
    keys = ["rollout_id", "seed", "policy"]
    assert frames["killed"].select(keys).equals(frames["whole"].select(keys))
    texts = [frame["steps"].list.eval(pl.element().struct["text"]) for frame in frames.values()]
    assert (texts[0] == texts[1]).mean() >= EQUAL
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or key.encode() not in file.read_bytes(), file
