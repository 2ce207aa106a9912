"""Evaluations whose process reward is a model's."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.values.score import TransformersValue
from tests.flows.conftest import ROOT, Qstar
from tests.models import tiny_text_policy

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


def test_a_run_that_names_no_reward_model_plans_to_train_one(
    qstar: Qstar, config: Path, tmp_path: Path
) -> None:
    result = qstar("run", config, "--plan")
    assert result.returncode == 0, result.stderr
    stages = ["problems", "rollouts", "labels_prm", "prm", "evaluation", "report"]
    found = [line.split()[0] for line in result.stdout.splitlines() if "will run" in line]
    assert found == stages
    named = qstar("train-prm", config, "--set", "prm.path=reference:countdown-qvm")
    assert named.returncode == 2
    assert "no stage prm: prm.path names a trained model" in named.stderr
    alone = qstar("train-prm", config)
    assert alone.returncode == 2
    assert "its input problems is not there yet" in alone.stderr
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


NAMES = ("Tom", "Ann", "Ben", "Eva", "Max", "Ida", "Leo", "Mia", "Sam", "Zoe", "Jim", "Kim")
THINGS = (
    "apples in a red basket",
    "old coins of her uncle",
    "books about the far north",
    "marbles and two wooden toys",
    "stamps from nine countries",
    "small cakes for the party",
    "pens in a drawer of the desk",
    "shells from the sunny beach",
    "cards with blue dragons",
    "roses along the garden wall",
    "tickets for the late train",
    "stones out of the cold river",
)
SMALL = {
    "policy.backend": "transformers",
    "policy.dtype": "float64",
    "runtime.python": "null",
    "rollouts.samples": 3,
    "rollouts.max_new_tokens": 40,
    "pools.0.samples": 1,
    "pools.0.max_states": 2,
    "evaluation.max_policy_tokens": 60,
    "evaluation.max_step_tokens": 20,
    "evaluation.bootstrap_samples": 200,
    "prm.dtype": "float64",
    "qvm.score_dtype": "float64",
    **{f"{m}.{n}": v for m in ("prm", "qvm") for n, v in (("batch_size", 8), ("holdout", 0.3))},
}


def word_problems(folder: Path) -> dict[str, Path]:
    """Twelve problems in the form of GSM8K, the last three held out."""
    rows = [
        {
            "question": f"{name} has {k + 2} {things} and gets {k + 5} more. How many are there?",
            "answer": f"{k + 2} + {k + 5} = {2 * k + 7}\n#### {2 * k + 7}",
        }
        for k, (name, things) in enumerate(zip(NAMES, THINGS, strict=True))
    ]
    files = {}
    for split, part in (("train", rows[:9]), ("test", rows[9:])):
        files[split] = folder / f"{split}.jsonl"
        files[split].write_text("".join(json.dumps(row) + "\n" for row in part))
    return files


@pytest.mark.slow
def test_the_gsm8k_preset_from_problems_to_a_search_by_its_own_models(
    qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    files, out = word_problems(tmp_path), tmp_path / "out"
    chosen = {f"domain.{split}_file": file for split, file in files.items()}
    chosen |= {"policy.path": tiny_text_policy(), **SMALL}
    sets = [part for name, value in chosen.items() for part in ("--set", f"{name}={value}")]
    preset = ROOT / "deployments" / "configs" / "gsm8k.yaml"
    done = qstar("run", preset, "--out", out, *sets, PREFECT_API_URL=prefect_server)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {path.parent.parent.name for path in out.glob("*/*/manifest.json")}
    assert made >= {"rollouts", "pool", "labels", "prm", "qvm", "evaluation", "report"}
    [folder] = (out / "prm").iterdir()
    prm = TransformersValue(folder, "float64", "cpu", 64)
    rows = [
        row
        for file in (out / "evaluation").rglob("part-*.parquet")
        for row in pq.read_table(file).to_pylist()
    ]
    assert len(rows) == 4 * 3
    judged = [row for row in rows if row["method"] in ("A*", "best-of-N")]
    for row in judged:
        assert row["outcome"] != "search_error", row["reason"]
        texts = [row["prompt"]]
        for node in row["nodes"][1:]:
            texts.append(texts[node["parent"]] + node["text"])
            if node["reward"] is not None:
                # a rollout that was cut off has neither newline nor end
                assert node["reward"] in prm.score([texts[-1]] * 2, [False, True])
    assert sum(len(row["nodes"]) for row in judged) > len(judged)

    annotated = tmp_path / "annotated.jsonl"
    annotated.write_text(
        "".join(
            json.dumps({"question": row["question"], "steps": [row["answer"]], "labels": [k % 2]})
            + "\n"
            for k, row in enumerate(map(json.loads, files["train"].read_text().splitlines()))
        )
    )
    more = [*sets, "--set", f"prm.annotations={annotated}", "--set", "prm.holdout=0.5"]
    env = {"PREFECT_API_URL": prefect_server}
    trained = qstar("train-prm", preset, "--out", out, *more, **env)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert len(list((out / "prm").iterdir())) == 2
    [labels] = (out / "annotations").iterdir()
    assert qstar("verify", labels, "--deep").returncode == 0
    again = qstar("reproduce", labels, **env)
    assert "equal, 9 rows" in again.stdout, again.stdout + again.stderr
