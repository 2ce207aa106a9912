"""A finished checkout in small, where the commands of the reference pages do what the pages say.

It has the files of ``deployments``, with their names and smaller numbers, one run of the demo, and
what stands for the words in capitals that a reader puts something of his own for.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from qstar_core.store import open_store

ROOT = Path(__file__).parents[2]
MANIFEST = "manifest.json"
DATA = Path(os.environ.get("QSTAR_DATA", ROOT.parent / "shared" / "data"))
PUBLISHED = {
    "gsm8k": ("gsm8k/train.jsonl.gz", "gsm8k/test.jsonl"),
    "math": ("math/train.jsonl.gz", "math/test.jsonl.gz"),
    "mbpp": ("mbpp/mbpp.jsonl", "mbpp/mbpp.jsonl"),
}
"""Files of training and test problems, by the name of a configuration of the papers."""

RUNS = ("demo", "game24", "label-audit", "expert-iteration", "adaptive-search")
"""Files of ``deployments`` that pages run, and so are made smaller."""

TRAINING = {"epochs": 1.0, "batch_size": 16, "holdout": 0.3, "bf16": False}
SMALL: dict[str, Any] = {
    "domain": {"train_problems": 24, "test_problems": 4},
    "rollouts": {"samples": 4},
    "qvm": {**TRAINING, "warmup_steps": 1},
    "prm": {**TRAINING, "warmup_steps": 1},
    "sft": {"epochs": 1.0, "batch_size": 8, "min_problems": 1},
    "evaluation": {"max_policy_tokens": 120, "bootstrap_samples": 200, "report_trees": 4},
    "comparison": {"tokens": [60, 120], "seconds": []},
    "runtime": {"workers": 1, "threads": 1},
}
CHOICE = {
    "factors": [{"name": "algorithm", "values": ["greedy", "best_of_n"]}],
    **{"episodes": 40, "batch_size": 10, "ablations": False, "linucb": None},
}
ADAPTING = [
    {"name": "adaptive", "algorithm": "adaptive"},
    {"name": "fixed", "algorithm": "adaptive", "choose": "fixed"},
]
SMALLER: dict[str, dict[str, Any]] = {
    "game24": {"domain": {"train_problems": 1}, "evaluation": {"max_expansions": 5}},
    "label-audit": {
        "rollouts": {"samples": 2},
        "pools": [
            {"kind": "states", "samples": 1},
            {"kind": "stronger", "samples": 1, "temperature": 0.3},
            {"kind": "mcts", "simulations": 2, "k": 2},
            {"kind": "binary_search", "samples": 1},
        ],
    },
    "adaptive-search": {"adaptive": CHOICE, "evaluation": {"methods": ADAPTING}},
}
"""What is changed in a file of ``deployments`` besides."""

WITHOUT_Q = [
    {"name": "greedy", "algorithm": "greedy", "temperature": 0.0, "reward": "none"},
    {"name": "majority", "algorithm": "self_consistency", "n": 2, "reward": "none"},
]
TEXT = {"policy": {"path": "text-policy"}, "rollouts": {"max_new_tokens": 16}}
OWN: dict[str, dict[str, Any]] = {
    "mine": {"name": "mine", "out": "results/demo", "evaluation": {"max_policy_tokens": 100}},
    "tonight": {},
    "lastweek": {"out": "results/yesterday", "qvm": {"path": "reference:countdown-qvm"}},
    "served": {
        **{"name": "served", "out": "results/served"},
        "policy": {
            **{"backend": "server", "path": "meta-llama/Llama-3.1-8B", "dtype": "bfloat16"},
            "server": {"urls": ["http://gpu1:8000/v1", "http://gpu2:8000/v1"]},
        },
    },
    "plain": {
        **{"name": "plain", "out": "results/plain", **TEXT, "adaptive": {}},
        # with this section a run without Q needs no Q-value model
        "evaluation": {"methods": WITHOUT_Q, "baseline": "greedy", "max_policy_tokens": 24},
    },
    "scripted": {
        **{"name": "scripted", "out": "results/scripted"},
        "domain": {"name": "gsm8k", "train_file": "sums.jsonl", "test_file": "sums-test.jsonl"},
    },
}
"""Configurations of the reader's own, as changes to the demo in small."""

SAMPLE = {"question": "What is 3 + 4?", "reference": "7", "samples": ["3 + 4 = 7\n#### 7"]}


def merged(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A tree with changes; mappings are merged, all else is replaced."""
    found = dict(tree)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(found.get(name), dict)
        found[name] = merged(found[name], value) if both else value
    return found


def small(path: Path) -> dict[str, Any]:
    """A run configuration of ``deployments`` in small; the papers' keep their size, their data lie
    on this machine."""
    tree: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem in PUBLISHED:
        files = [str(DATA / file) for file in PUBLISHED[path.stem]]
        return merged(tree, {"domain": {"train_file": files[0], "test_file": files[1]}})
    return merged(merged(tree, SMALL), SMALLER.get(path.stem, {}))


def missing(text: str) -> str | None:
    """The published file that a block needs and this machine lacks."""
    for name in re.findall(r"deployments/configs/([\w.-]+)\.yaml", text):
        for file in PUBLISHED.get(name, ()):
            if not (DATA / file).is_file():
                return f"no {DATA / file}: set QSTAR_DATA to a folder with {file}"
    return None


def furnish(folder: Path, servers: list[str]) -> None:
    """Writes the files of the checkout in small and those of the reader.

    Args:
        folder: empty.
        servers: addresses of two servers of completions.
    """
    for path in sorted((ROOT / "deployments").rglob("*.*")):
        to = folder / path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.stem in RUNS or path.stem in PUBLISHED:
            to.write_text(yaml.safe_dump(small(path)), encoding="utf-8")
        elif path.is_file():
            shutil.copy(path, to)
    for name in ("Makefile", ".ci", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    demo = small(ROOT / "deployments" / "demo.yaml")
    for name, changes in OWN.items():
        text = yaml.safe_dump(merged(demo, changes))
        (folder / f"{name}.yaml").write_text(at(text, servers), encoding="utf-8")
    for name, rows in written().items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(lines, encoding="utf-8")


def written() -> dict[str, list[dict[str, Any]]]:
    """The reader's files of rows, by name."""
    sums = [(f"What is {n} + {n + 1}?", 2 * n + 1) for n in range(20)]
    texts = [[f"It is {value}.\n#### {value}\n", "It is 99.\n#### 99\n"] for _, value in sums]
    problems = [
        {"question": question, "answer": f"#### {value}", "problem": question}
        | {"solution": rf"It is $\boxed{{{value}}}$."}
        for question, value in sums
    ]
    pairs = [(n + 1, n) for n in range(2, 20)]  # a question has the larger number first
    annotations = [
        {"question": f"{a} {b} > {a + b}", "reference": {"numbers": [a, b], "target": a + b}}
        | {"steps": [f"{a} {sign} {b} = {a + b} | {a + b} > {a + b}\n"], "labels": [sign == "+"]}
        for a, b in pairs
        for sign in "+-"
    ]
    script = [
        {"prompt": f"Question: {question}\nAnswer:\n", "texts": both}
        for (question, _), both in zip(sums, texts, strict=True)
    ]
    return {
        "samples.jsonl": [SAMPLE],
        "puzzles.jsonl": [{"numbers": [4, 9, 10, 13], "target": 24}],
        "annotations.jsonl": annotations,
        "script.jsonl": script,
        "sums.jsonl": problems[:16],
        "sums-test.jsonl": problems[16:],
        "data/math/train.jsonl": problems[:3],
        "data/math/test.jsonl": problems[16:18],
    }


def at(text: str, servers: list[str]) -> str:
    """A text with the addresses of real servers in the place of gpu1 and gpu2."""
    for number, url in enumerate(servers, start=1):
        text = re.sub(rf"http://gpu{number}:\d+/v1", url, text)
    return text


def nth(folder: str, number: int) -> str:
    """A data set in a folder or below an ``s3://`` URI; in a folder the n-th that was made."""
    names = {name.split("/")[0] for name in open_store(folder).names() if name.endswith(MANIFEST)}
    found = sorted(names)
    if "://" not in folder:
        found.sort(key=lambda name: (Path(folder) / name / MANIFEST).stat().st_mtime_ns)
    return f"{folder}/{found[number]}"


if __name__ == "__main__":
    sys.stdout.write(nth(sys.argv[1], int(sys.argv[2])))
