"""The 1,000 questions of AdaReasoner, end to end.

With a script the configuration that is right is known for each kind of question, so it is known
what has to be learnt; with a tiny random Llama in the real vLLM engine nothing is right, but every
part is used.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from qstar_core.config import DomainConfig
from qstar_core.domains import choice, problem_sets
from qstar_core.mdp import Problem
from tests import data
from tests.flows.conftest import ROOT, Qstar
from tests.models import tiny_text_policy
from tests.vllm_server import LIGHT, MISSING, PYTHON

pytestmark = pytest.mark.slow
needs_vllm = pytest.mark.skipif(bool(MISSING), reason=MISSING)
CONTEXT = 8192  # tokens, of one character each
WORDS = {  # the instruction under which a kind of question is answered right
    "metaphor": "Name what is compared.",
    "likely": "Distrust common beliefs.",
    "lettered": "Recall the definition.",
    "logic": "Draw a truth table.",
}
NO_MORE = "Answer at once."
INSTRUCTIONS = [*WORDS.values(), NO_MORE]


def kind(problem: Problem) -> str:
    """One of four kinds of questions, by their form."""
    text = problem.prompt
    if "metaphor" in text:
        return "metaphor"
    if "most likely answer" in text:
        return "likely"
    return "lettered" if "Options: A:" in text else "logic"


def wrong(problem: Problem) -> str:
    """The text of an option that is not right."""
    right = choice.plain(choice.right_answer(problem))
    return next(t for t in choice.options(problem).values() if choice.plain(t) != right)


def said(problem: Problem, instruction: str) -> list[str]:
    """Under the right instruction an answer is right at temperature 0, else one time in three."""
    good, bad = (f"The answer is {text}" for text in (choice.right_answer(problem), wrong(problem)))
    return [good, bad, bad] if instruction == WORDS[kind(problem)] else [bad]


def tree(folder: Path, source: Path, embedding: str) -> dict[str, Any]:
    """The run, without a policy."""
    factors = [
        {"name": "instruction", "values": INSTRUCTIONS},
        {"name": "temperature", "values": [1.0, 0.0]},
    ]
    methods: list[dict[str, Any]] = [
        {"name": "adaptive", "algorithm": "adaptive"},
        *({"name": n, "algorithm": "adaptive", "choose": n} for n in ("random", "fixed", "linucb")),
        {"name": "alone", "algorithm": "adaptive", "choose": "factor", "factor": "instruction"},
    ]
    return {
        "name": "adareasoner",
        "out": str(folder / "out"),
        "domain": {"name": "choice", "train_file": str(source), "test_share": 0.9},
        "rollouts": {"max_new_tokens": 400},
        "adaptive": {
            "factors": factors,
            "template": "{prompt}{instruction}\n",
            "embedding": embedding,
            **{"episodes": 3000, "batch_size": 50, "learning_rate": 0.01},
            **{"logged": 20, "ablations": True, "linucb": 0.5, "allow": ["near_duplicates"]},
        },
        "evaluation": {"methods": methods, "baseline": "fixed", "bootstrap_samples": 1000},
        "runtime": {"workers": 1, "threads": 1},
    }


def figures(out: Path, stage: str) -> dict[str, Any]:
    [found] = out.glob(f"{stage}/*/manifest.json")
    loaded: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))["figures"]
    return loaded


def run(qstar: Qstar, folder: Path, config: dict[str, Any], **env: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    done = qstar("run", path, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out"


@pytest.mark.long
def test_the_policy_finds_what_answers_each_kind(
    qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    source = data.data_file("adareasoner", "source.json")
    config = tree(tmp_path, source, str(tiny_text_policy(CONTEXT)))
    domain = DomainConfig.model_validate(config["domain"])
    script = tmp_path / "script.jsonl"
    with script.open("w", encoding="utf-8") as file:
        for split in ("train", "test"):
            for problem in problem_sets.problems(domain, split, 0):
                for instruction in INSTRUCTIONS:
                    prompt = f"{problem.prompt}{instruction}\n"
                    row = {"prompt": prompt, "texts": said(problem, instruction)}
                    file.write(json.dumps(row) + "\n")
    config["policy"] = {"backend": "scripted", "path": str(script)}
    out = run(qstar, tmp_path, config, PREFECT_API_URL=prefect_server)
    kinds = Counter(map(kind, problem_sets.problems(domain, "test", 0)))
    commonest = kinds.most_common(1)[0][1] / kinds.total()  # what one instruction can answer
    table = {row["method"]: row for row in figures(out, "evaluation")["comparison"]}
    assert sum(figures(out, "problems")[split] for split in ("train", "test")) == 994
    assert table["adaptive"]["n"] > 850
    assert table["random"]["accuracy"] < table["fixed"]["accuracy"] < commonest + 0.01
    for name in ("adaptive", "linucb", "alone"):
        assert table[name]["accuracy"] > table["fixed"]["accuracy"] + 0.1, table[name]
    assert table["adaptive"]["verdict"] == "better"
    assert figures(out, "adaptive")["best_fixed"]["temperature"] == 0.0


@needs_vllm
def test_a_random_llama_in_vllm_uses_every_part(
    qstar: Qstar, prefect_server: str, tmp_path: Path
) -> None:
    """The shipped configuration with the paper's whole space, on a slice."""
    rows = json.loads(data.data_file("adareasoner", "source.json").read_text(encoding="utf-8"))
    source = tmp_path / "source.json"
    source.write_text(json.dumps([row for row in rows if len(row["question"]) < 500][::40]))
    shipped = ROOT / "deployments" / "configs" / "adareasoner.yaml"
    tiny = str(tiny_text_policy(CONTEXT))
    sets = {
        "domain.train_file": source,
        "domain.test_share": 0.3,
        "policy": f"{{backend: vllm, path: {tiny}, dtype: float32, engine: "
        f"{{enforce_eager: true, max_model_len: {CONTEXT}}}}}",
        "runtime.python": PYTHON,
        "rollouts.max_new_tokens": 16,
        "adaptive.embedding": tiny,
        "adaptive.episodes": 40,
        "adaptive.batch_size": 20,
        "adaptive.logged": 2,
        "evaluation.bootstrap_samples": 200,
        "evaluation.max_policy_tokens": 64,
    }
    given = [part for field, value in sets.items() for part in ("--set", f"{field}={value}")]
    out = tmp_path / "out"
    env = {"PREFECT_API_URL": prefect_server, **LIGHT}
    done = qstar("run", shipped, "--out", out, *given, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    learners = figures(out, "adaptive")["learners"]
    assert [row["episodes"] for row in learners] == [40] * 5
    assert all(row["tokens"] > 0 and row["unknown"] == 0 for row in learners)
    for row in figures(out, "evaluation")["comparison"]:
        assert row["n"] > 3 and not row["failures"] and row["policy_tokens"] > 0
