"""Countdown with a script instead of an LLM: which instruction solves a problem is known.

A problem whose target is above 10 is solved by the right play after the word ``blue`` and by none
after another; for others the word is ``red``. At temperature 0 the script replays its first text,
which is right; at 1 it draws among one right and three wrong ones.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from qstar_core.config import RunConfig
from qstar_core.domains import countdown, problem_sets
from qstar_core.mdp import Problem
from tests.sft.examples import plays

WORDS = ("green", "red", "blue")
TEMPERATURES = (1.0, 0.0)
FACTORS = [
    {"name": "word", "values": list(WORDS)},
    {"name": "temperature", "values": list(TEMPERATURES)},
]
RANGES = {"numbers": 3, "min_number": 1, "max_number": 9, "min_target": 1, "max_target": 20}
METHODS: list[dict[str, Any]] = [
    {"name": "adaptive", "algorithm": "adaptive"},
    *(
        {"name": name, "algorithm": "adaptive", "choose": name}
        for name in ("random", "fixed", "oracle")
    ),
]


def best_word(problem: Problem) -> str:
    """The word after which a problem is solved."""
    return "blue" if countdown.start(problem)[1] > 10 else "red"


@lru_cache(maxsize=4096)
def texts_of(problem: Problem) -> tuple[str, ...]:
    """A play that reaches the target, and three that miss it."""
    found = [*plays(problem, True, 1), *plays(problem, False, 3)]
    return tuple("".join(lines) for lines in found)


def texts(problem: Problem, word: str) -> list[str]:
    """What the script may say."""
    right, *wrong = texts_of(problem)
    return [right, *wrong] if word == best_word(problem) else wrong


def config_of(out: Path, train: int = 120, test: int = 40, **adaptive: Any) -> RunConfig:
    """A run whose script lies beside its results."""
    domain = {"train_problems": train, "test_problems": test, "ranges": RANGES}
    script = out.parent / f"{out.name}-script.jsonl"
    own: dict[str, Any] = {
        "factors": FACTORS,
        "template": "{word} {prompt}",
        "embedding": "reference:countdown-policy",
        "episodes": 1500,
        "batch_size": 50,
        "logged": 6,
        "learning_rate": 0.02,
        "hidden": [32],
        "allow": ["near_duplicates"],
        "save_every": 300,
        **adaptive,
    }
    tree = {
        "out": str(out),
        "domain": domain,
        "policy": {"backend": "scripted", "path": str(script)},
        "rollouts": {"shard_problems": 70, "max_new_tokens": 60},
        "evaluation": {"methods": METHODS, "baseline": "fixed", "bootstrap_samples": 200},
        "adaptive": own,
    }
    config = RunConfig.model_validate(tree)
    script.parent.mkdir(parents=True, exist_ok=True)
    with script.open("w", encoding="utf-8") as file:
        for split in ("train", "test"):
            for problem in problem_sets.problems(config.domain, split, config.seed):
                for word in WORDS:
                    row = {"prompt": f"{word} {problem.prompt}", "texts": texts(problem, word)}
                    file.write(json.dumps(row) + "\n")
    return config
