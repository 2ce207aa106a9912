"""The papers' configurations end to end on a slice of the real data, without weights.

With a policy that replays reference solutions and injected errors the outcome is known exactly;
with a tiny random Llama in the real vLLM engine nothing is solved, but every part is used.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from qstar_core.config import DomainConfig
from qstar_core.domains import problem_sets
from qstar_core.mdp import Problem
from qstar_core.values.data import held_out
from tests import data
from tests.flows.conftest import ROOT, Qstar
from tests.models import tiny_text_policy
from tests.vllm_server import LIGHT, MISSING, PYTHON

TRAIN, TEST = 4, 3
HOLDOUT = 0.5
CONTEXT = 4096  # tokens, of one character each
needs_vllm = pytest.mark.skipif(bool(MISSING), reason=MISSING)
pytestmark = pytest.mark.slow

COMMON = {
    "rollouts.samples": 4,
    "pools.0.samples": 1,
    "pools.0.max_states": 2,
    "evaluation.bootstrap_samples": 200,
    "evaluation.max_policy_tokens": 3000,
    "runtime.workers": 1,
    "runtime.threads": 1,
    "qvm.score_dtype": "float32",
    # What all prompts share is left out where there are ten; fewer look alike for their examples.
    **{f"{model}.allow": "[near_duplicates]" for model in ("prm", "qvm")},
    "prm.dtype": "float32",
    **{f"{model}.batch_size": 8 for model in ("prm", "qvm")},
    **{f"{model}.holdout": HOLDOUT for model in ("prm", "qvm")},
    **{f"{model}.bf16": False for model in ("prm", "qvm")},
}


@dataclass(frozen=True)
class Set:
    """A data set of the papers.

    Attributes:
        rows: of a split.
        question: the field that is asked.
        right: a solution from a row.
        wrong: one with an error.
    """

    rows: Callable[[str], list[dict[str, Any]]]
    question: str
    right: Callable[[dict[str, Any]], str]
    wrong: Callable[[dict[str, Any]], str]


def mbpp_rows(split: str) -> list[dict[str, Any]]:
    first = {"train": 601, "test": 11}[split]
    return [row for row in data.mbpp() if row["task_id"] >= first and "import" not in row["code"]]


def math_rows(split: str) -> list[dict[str, Any]]:
    """Short ones whose last line alone has a box."""

    def fits(solution: str) -> bool:
        boxes = solution.count("\\boxed"), solution.rpartition("\n")[2].count("\\boxed")
        return boxes == (1, 1) and len(solution) < 300

    return [row for row in data.math(split) if fits(row["solution"])]


SETS = {
    "gsm8k": Set(
        data.gsm8k,
        "question",
        lambda row: row["answer"],
        lambda row: row["answer"].rpartition("#### ")[0] + "#### 987654321",
    ),
    "math": Set(
        math_rows,
        "problem",
        lambda row: row["solution"],
        lambda row: "It is clear.\nThe answer is $\\boxed{987654321}$.",
    ),
    "mbpp": Set(
        mbpp_rows,
        "text",
        lambda row: row["code"].replace("\r\n", "\n") + "\n[DONE]",
        lambda row: "def nothing():\n    return None\n[DONE]",
    ),
}
needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")
PROMPTS = {"gsm8k": "gsm8k/metamath", "math": "math/deepseek-math", "mbpp": "mbpp/three-shot"}
NAMES = ["gsm8k", "math", pytest.param("mbpp", marks=needs_bwrap)]


def slices(folder: Path, name: str) -> dict[str, list[dict[str, Any]]]:
    """The first rows of both splits, written to files."""
    found = {}
    for split, count in (("train", TRAIN), ("test", TEST)):
        found[split] = SETS[name].rows(split)[:count]
        lines = "".join(json.dumps(row) + "\n" for row in found[split])
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return found


def asked(folder: Path, name: str, split: str) -> list[Problem]:
    """The problems of a slice, as the configuration asks them."""
    files = {f"{part}_file": str(folder / f"{part}.jsonl") for part in ("train", "test")}
    domain = DomainConfig.model_validate({"name": name, "prompt": PROMPTS[name], **files})
    return problem_sets.problems(domain, split, seed=0)


def halving(problems: list[Problem]) -> int:
    """A seed that holds out half of the problems of a training."""
    for seed in range(1000):
        if 2 * sum(held_out(p.id, HOLDOUT, seed) for p in problems) == len(problems):
            return seed
    raise AssertionError("no such seed")


def run(qstar: Qstar, folder: Path, name: str, given: dict[str, Any], **env: str) -> Path:
    """Runs a configuration with small settings; returns the folder of its results."""
    files = {f"domain.{split}_file": folder / f"{split}.jsonl" for split in ("train", "test")}
    seed = halving(asked(folder, name, "train"))
    sets = {**COMMON, **files, "qvm.seed": seed, "prm.seed": seed, **given}
    if name != "gsm8k":
        sets = {field: value for field, value in sets.items() if not field.startswith("prm.")}
    parts = [part for field, value in sets.items() for part in ("--set", f"{field}={value}")]
    path, out = ROOT / "deployments" / "configs" / f"{name}.yaml", folder / "out"
    done = qstar("run", path, "--out", out, *parts, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {path.parent.parent.name for path in out.glob("*/*/manifest.json")}
    prm = {"prm"} if name == "gsm8k" else set()
    assert made >= {"rollouts", "pool", "labels", "qvm", "evaluation", "report", *prm}
    return out


def manifest(out: Path, stage: str) -> dict[str, Any]:
    [found] = out.glob(f"{stage}/*/manifest.json")
    loaded: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return loaded


def rollouts(out: Path) -> list[dict[str, Any]]:
    files = sorted((out / "rollouts").rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.mark.parametrize("name", NAMES)
def test_reference_solutions_with_errors_are_as_right_as_they_were_made(
    qstar: Qstar, prefect_server: str, tmp_path: Path, name: str
) -> None:
    """Held out: one problem has the right text alone, one a wrong one, one the right one first."""
    rows = slices(tmp_path, name)
    script, right = tmp_path / "script.jsonl", set[tuple[str, str]]()
    with script.open("w", encoding="utf-8") as file:
        for split, found in rows.items():
            problems = asked(tmp_path, name, split)
            assert len(problems) == len(found)
            for place, (problem, row) in enumerate(zip(problems, found, strict=True)):
                good, bad = SETS[name].right(row), SETS[name].wrong(row)
                mixed = [good, bad] if split == "train" else [[good], [bad], [good, bad]][place]
                file.write(json.dumps({"prompt": problem.prompt, "texts": mixed}) + "\n")
                right.add((problem.id, good))
    tiny = str(tiny_text_policy(CONTEXT))
    models = {"qvm.init": tiny, "prm.init": tiny, "runtime.python": "null"}
    policy = {"policy.backend": "scripted", "policy.path": script, "policy.dtype": "float64"}
    out = run(qstar, tmp_path, name, {**policy, **models}, PREFECT_API_URL=prefect_server)

    drawn = rollouts(out)
    assert len(drawn) == TRAIN * 4
    for row in drawn:
        text = "".join(step["text"] for step in row["steps"])
        made_right = (row["problem_id"], text) in right
        assert row["outcome"] == ("correct" if made_right else "wrong"), text
    assert {row["outcome"] for row in drawn} == {"correct", "wrong"}
    table = {row["method"]: row for row in manifest(out, "evaluation")["figures"]["comparison"]}
    assert table["greedy"]["accuracy"] == pytest.approx(2 / 3)
    for row in table.values():
        assert row["n"] == TEST and not row["failures"]
        assert 1 / 3 - 1e-9 <= row["accuracy"] <= 2 / 3 + 1e-9


@needs_vllm
@pytest.mark.parametrize("name", NAMES)
def test_a_random_llama_in_vllm_uses_every_part(
    qstar: Qstar, prefect_server: str, tmp_path: Path, name: str
) -> None:
    slices(tmp_path, name)
    given = {
        "policy.path": tiny_text_policy(CONTEXT),
        "policy.dtype": "float32",
        "policy.engine": f"{{enforce_eager: true, max_model_len: {CONTEXT}}}",
        "runtime.python": PYTHON,
        "rollouts.samples": 2,
        "rollouts.max_new_tokens": 24,
        "rollouts.drift_requests": 2,
        "evaluation.max_policy_tokens": 96,
        "evaluation.max_step_tokens": 24,
    }
    env = {"PREFECT_API_URL": prefect_server, **LIGHT}
    out = run(qstar, tmp_path, name, given, **env)
    assert len(rollouts(out)) == TRAIN * 2
    for row in manifest(out, "evaluation")["figures"]["comparison"]:
        assert row["n"] == TEST and not row["failures"]
        assert row["accuracy"] < 0.5 and row["policy_tokens"] > 0
    [report] = out.glob("report/*/*.html")
    assert "A*" in report.read_text(encoding="utf-8")
