"""Makes the reference policy: trains it, measures it, writes its manifest beside the weights.

The figures are taken on held-out problems with the ranges of the configuration: the share of
legal lines at temperature 1, the accuracy of greedy decoding, and pass@8 at temperature 1. A policy
that follows instructions gets one that suits the problem, with the fewest lines; how many it obeys
is measured with instructions that need not suit.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from qstar_core import __version__
from qstar_core.config import RunConfig
from qstar_core.domains import (
    countdown,
    countdown_instructed,
    countdown_problems,
    problem_sets,
)
from qstar_core.environment import describe
from qstar_core.keys import sample_seed
from qstar_core.mdp import Problem
from qstar_core.policies import Policy, SampleRequest
from qstar_core.policies.pretrain import train
from qstar_core.policies.transformers import TransformersPolicy
from qstar_core.store import open_store
from qstar_core.store.dataset import MANIFEST, sha256_of
from qstar_core.store.uri import is_remote

log = logging.getLogger(__name__)

PROBLEMS = 500
SAMPLES = 8


def pretrain_into(
    config: RunConfig, out: Path, report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Trains a reference policy into a folder and publishes its manifest last.

    Args:
        config: of the run; ``pretrain`` is the training, ``domain`` the held-out problems: the
            plays leave out those of its ``test_file`` too.
        out: the checkpoint's folder.
        report: called with the progress of the training.

    Returns:
        A receipt: {"files", "rows", "figures"}.
    """
    (out / "manifest.json").unlink(missing_ok=True)
    file = problem_sets.given(config.domain, "test")
    fitted = train(config.pretrain, out, report, file.problems if file else ())
    return describe_checkpoint(config, out, fitted)


def pretrain_to(
    uri: str, config: RunConfig, report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """`pretrain_into` a folder or an ``s3://`` URI, there with the manifest put last."""
    if not is_remote(uri):
        return pretrain_into(config, Path(uri), report)
    store = open_store(uri)
    store.check("out")
    store.delete(MANIFEST)
    folder = store.scratch()
    receipt = pretrain_into(config, folder, report)
    for entry in receipt["files"]:
        store.put(entry["name"], folder / entry["name"])
    store.put(MANIFEST, folder / MANIFEST)
    return receipt


def describe_checkpoint(config: RunConfig, out: Path, fitted: dict[str, float]) -> dict[str, Any]:
    """Measures a trained checkpoint and writes ``manifest.json`` beside it."""
    figures = {**fitted, **measure(out, config)}
    files = [
        {"name": file.name, "bytes": file.stat().st_size, "sha256": sha256_of(file)}
        for file in sorted(out.iterdir())
        if file.is_file() and file.name != "manifest.json"
    ]
    manifest = {
        "kind": "checkpoint",
        "command": f"qstar pretrain deployments/{config.name}.yaml",
        "seed": config.pretrain.seed,
        "config": config.pretrain.model_dump(mode="json"),
        "domain": config.domain.model_dump(mode="json"),
        "figures": figures,
        "files": files,
        "environment": describe(),
        "code": {"qstar": __version__},
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return {"files": files, "rows": 0, "figures": figures}


def _prompt(problem: Problem, config: RunConfig) -> str:
    if not config.pretrain.instructed:
        return problem.prompt
    operator, lines = countdown_instructed.suiting(problem)[0]
    return countdown_instructed.instructed(problem, operator, lines)


def _ask(
    problem: Problem, prompt: str, temperature: float, samples: int, config: RunConfig
) -> SampleRequest:
    return SampleRequest(
        prompt=prompt,
        seeds=tuple(sample_seed(0, problem.id, k) for k in range(samples)),
        max_steps=countdown.max_steps(problem),
        max_new_tokens=config.rollouts.max_new_tokens,
        temperature=temperature,
    )


def measure(folder: Path, config: RunConfig) -> dict[str, float]:
    """Legal lines, accuracy, pass@8 and obedience on held-out problems, each in [0, 1]."""
    policy = TransformersPolicy(folder, "float32", "auto", 512)
    problems = countdown_problems.generate("test", PROBLEMS, config.domain.ranges, config.seed)
    figures = {}
    for name, temperature, samples in (("greedy", 0.0, 1), ("sampled", 1.0, SAMPLES)):
        asks = [_ask(p, _prompt(p, config), temperature, samples, config) for p in problems]
        legal = lines = solved = 0
        hits = 0.0
        for problem, drawn in zip(problems, policy.sample(asks), strict=True):
            rewards = []
            for sample in drawn:
                texts = [step.text for step in sample.steps]
                rules = countdown.rule_rewards(problem, texts)
                # lines after the first illegal one stand in a false state and are not counted
                first_bad = rules.index(0.0) + 1 if 0.0 in rules else len(rules)
                lines += first_bad
                legal += int(sum(rules[:first_bad]))
                rewards.append(countdown.grade(problem, texts).reward)
            solved += max(rewards) > 0
            hits += sum(rewards) / len(rewards)
        figures[f"{name}_legal_lines"] = legal / lines
        figures[f"{name}_accuracy"] = hits / len(problems)
        if samples > 1:
            figures[f"pass_at_{samples}"] = solved / len(problems)
    if config.pretrain.instructed:
        figures["obeyed"] = obeyed(policy, problems, config)
    return {name: round(value, 4) for name, value in figures.items()}


def obeyed(policy: Policy, problems: Sequence[Problem], config: RunConfig) -> float:
    """The share of plays at temperature 1 with the first operation and lines that were asked for.

    Args:
        policy: follows instructions.
        problems: the instructions take turns over them, whether they suit or not; of lines there
            are fewer than numbers.
        config: of the run.
    """
    given = []
    for number, problem in enumerate(problems):
        told = list(product(countdown.OPERATORS, range(1, len(countdown.start(problem)[0]))))
        given.append((problem, *told[number % len(told)]))
    asks = [
        _ask(problem, countdown_instructed.instructed(problem, operator, lines), 1.0, 1, config)
        for problem, operator, lines in given
    ]
    followed = 0
    for (_, operator, lines), (sample,) in zip(given, policy.sample(asks), strict=True):
        steps = sample.steps
        first = countdown.parse_line(steps[0].text) if steps else None
        followed += first is not None and first.operator == operator and len(steps) == lines
    return followed / len(problems)
