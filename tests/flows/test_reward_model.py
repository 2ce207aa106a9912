"""Evaluations whose process reward is a model's."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.values.score import TransformersValue
from tests.flows.conftest import Qstar

CONFIG = """\
name: reward-model
out: {out}
domain:
  test_problems: 20
  ranges: {{numbers: 4, min_number: 1, max_number: 10, min_target: 1, max_target: 10}}
qvm: {{path: reference:countdown-qvm}}
evaluation:
  max_policy_tokens: 150
  bootstrap_samples: 200
  baseline: best-of-N
  methods:
    - {{name: best-of-N, algorithm: best_of_n, n: 1000, reward: prm}}
    - {{name: A*, algorithm: astar, reward: prm, aggregation: min}}
runtime: {{workers: 2, threads: 1}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(out=tmp_path / "out"), encoding="utf-8")
    return path


def test_a_missing_reward_model_is_said_before_anything_starts(
    qstar: Qstar, config: Path, tmp_path: Path
) -> None:
    result = qstar("run", config, "--plan")
    assert result.returncode == 2
    assert "prm.path: method 'best-of-N' has reward: prm" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_reward_model_judges_every_step(qstar: Qstar, config: Path, tmp_path: Path) -> None:
    """The Q-value model stands in for a process reward model: R_P of a step is its Q."""
    named = ("--set", "prm.path=reference:countdown-qvm")
    done = qstar("run", config, *named)
    assert done.returncode == 0, done.stderr
    rows = [
        row
        for file in (tmp_path / "out" / "evaluation").rglob("part-*.parquet")
        for row in pq.read_table(file).to_pylist()
    ]
    assert len(rows) == 2 * 20
    folder = resolve_checkpoint("reference:countdown-qvm", "prm.path")
    prm = TransformersValue(folder, "float64", "cpu", 64)
    for row in rows:
        assert row["outcome"] != "search_error", row["reason"]
        nodes = row["nodes"]
        texts, least = [row["prompt"]], [1.0]
        for node in nodes[1:]:
            texts.append(texts[node["parent"]] + node["text"])
            least.append(min(least[node["parent"]], node["reward"]))
            assert node["g"] == least[-1]
            if node["f"] is not None:
                assert node["f"] == pytest.approx(node["g"] + node["h"])
        found = prm.score(texts[1:], [not text.endswith("\n") for text in texts[1:]])
        assert [node["reward"] for node in nodes[1:]] == found
        if row["method"] == "A*":
            assert [node["q"] for node in nodes[1:]] == found
            assert row["value_calls"] >= 2 * len(nodes[1:])
