"""A small evaluation on countdown, searched for real: a noisy policy, a noisy Q-value model."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from qstar_core.config import CountdownRanges, RunConfig
from qstar_core.domains import countdown, countdown_problems
from qstar_core.evaluation.against import Against, changes, compare_runs, summary
from qstar_core.evaluation.compare import accuracy_by_tokens, compare
from qstar_core.evaluation.comparison_report import ComparisonData, Sweep
from qstar_core.evaluation.costs import costs
from qstar_core.evaluation.report import ReportData
from qstar_core.evaluation.run import evaluate
from qstar_core.evaluation.sweep import reach, sweep
from qstar_core.mdp import Problem, Step
from qstar_core.policies import Sample, SampleRequest
from qstar_core.search import Budget
from qstar_core.values.calibration import Calibration
from qstar_core.values.measuring import figures_of

HOSTILE = "</script><img src=x onerror=alert(1)>"
HELD_OUT = 40
SHOWN = 20


LABELS: dict[str, Any] = {
    "method": "best_of_rollouts",
    "gamma": 1.0,
    "rows": 95311,
    "steps": [{"step": k, "n": 30000, "positive": 9000 * k} for k in (1, 2, 3)],
    "conflicts": {"actions": 61000, "conflicting": 0},
    "own": {
        "problems": 200,
        "steps": [{"step": 1, "n": 900, "good": 500, "missed": 80, "wrong": 0, "bias": -0.0211}],
    },
    "warnings": [{"what": "16 % of the good steps 1 have label 0", "next": "qstar run CONFIG"}],
}
ROLLOUTS = {
    "rows": 32000,
    "shards": [{"figures": {"tokens": 600_000, "seconds": 42.0}}, {"figures": {"tokens": 587_960}}],
}


class NoisyPlayer:
    """Plays legal lines at random, now and then a false one; knows the prompt's last state."""

    fingerprint = "6f1d2c0b9a8e7d6c5b4a3f2e"
    batch_independent = True

    def sample(
        self, requests: Sequence[SampleRequest], done: Callable[[int, int], None] | None = None
    ) -> list[list[Sample]]:
        return [[self._play(request, seed) for seed in request.seeds] for request in requests]

    def _play(self, request: SampleRequest, seed: int) -> Sample:
        greedy = request.temperature == 0
        rng = random.Random(request.text if greedy else seed)
        state = request.text.splitlines()[-1].split("|")[-1]
        left, _, right = state.partition(">")
        numbers, target = countdown.ordered([countdown.Fraction(n) for n in left.split()]), right
        steps: list[Step] = []
        while len(numbers) > 1 and len(steps) < request.max_steps:
            options = [m for m in countdown.moves(numbers) if m[0] != "/" or rng.random() < 0.3]
            if not options:
                break
            sensible = [m for m in options if countdown.solvable(m[3], int(target))]
            chosen = rng.choice(
                sensible if sensible and rng.random() < (0.5 if greedy else 0.15) else options
            )
            operator, a, b, numbers = chosen
            text = countdown.line(operator, a, b, numbers, int(target))
            if rng.random() < 0.03:
                text = text.replace("=", "= 1", 1)
            ended = len(numbers) == 1
            tokens = len(text.split()) + 1
            steps.append(Step(text + ("" if ended else "\n"), tokens, ended=ended))
        return Sample(tuple(steps), "end")


class NoisyValue:
    """The exact Q* of the last line with an error that depends on the text alone."""

    fingerprint = "0c1b2a39485766758493a2b1"

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        return [self._score(text) for text in texts]

    def _score(self, text: str) -> float:
        prompt, _, lines = text.partition("\n")
        left, _, target = prompt.partition(">")
        problem = countdown.make_problem([int(n) for n in left.split()], int(target))
        truth = countdown.q_star(problem, lines.splitlines())[-1]
        noise = random.Random(hashlib.sha256(text.encode()).digest()).gauss(0.0, 1.1)
        return round(1 / (1 + math.exp(-(3.2 * truth - 1.6 + noise))), 6)


@lru_cache(maxsize=1)
def held_out() -> list[Problem]:
    """The problems of all examples."""
    return [
        countdown.make_problem([13, 10, 9, 4], 24),
        *countdown_problems.generate("test", HELD_OUT - 1, CountdownRanges(numbers=(4,)), seed=1),
    ]


@lru_cache(maxsize=1)
def searches() -> pl.DataFrame:
    """All three methods on the held-out problems, with their trees."""
    config, problems = RunConfig(), held_out()
    parts = []
    for method in config.evaluation.methods:
        table, _ = evaluate(problems, method, NoisyPlayer(), NoisyValue(), config, lambda *_: None)
        parts.append(pl.DataFrame(table))
    return pl.concat(parts)


def predictions() -> pl.DataFrame:
    """Held-out scores with labels and exact values, as the training measures them."""
    rng = np.random.default_rng(0)
    step = np.tile([1, 2, 3], 800)
    truth = (rng.random(2400) < 0.45).astype(float)
    logit = (2.6 * truth - 1.3) * (0.5 + 0.35 * step) + rng.normal(0, 1.1, 2400)
    problem = np.arange(2400) // 60
    steps = rng.integers(0, 4, 2400)  # siblings: up to four in a state
    return pl.DataFrame(
        {
            "problem_id": [f"p{k:02d}" for k in problem],
            "domain": "countdown",
            "state_id": [f"{k}-{t}" for k, t in zip(problem, step, strict=True)],
            "action_id": [f"{k}-{t}-{a}" for k, t, a in zip(problem, step, steps, strict=True)],
            "reported": problem % 4 > 0,
            "step_index": step,
            "n_steps": np.full(2400, 3),
            "q": 1 / (1 + np.exp(-1.6 * logit)),
            "q_raw": 1 / (1 + np.exp(-logit)),
            "y": np.where(rng.random(2400) < 0.03, 0.0, truth),
            "q_star": truth,
        }
    )


@lru_cache(maxsize=1)
def report_data() -> ReportData:
    """The report of that evaluation."""
    found, held = searches(), predictions()
    shown = found["problem_id"].unique(maintain_order=True).to_list()[:SHOWN]
    seconds = {"greedy": 4.2, "best-of-N": 41.7, "A*": 38.9}
    return ReportData(
        name="demo",
        key="b1f0c7c5a7d94f0e8e2d3c41",
        created="2025-06-30T02:14:07+00:00",
        command="qstar run deployments/demo.yaml --set seed=0",
        config=RunConfig().model_dump(mode="json"),
        comparison=compare(found, seconds, "best-of-N", resamples=2000),
        curve=accuracy_by_tokens(found),
        searches=found.filter(pl.col("problem_id").is_in(shown)),
        shown=shown,
        labels=LABELS,
        costs=costs([("rollouts", ROLLOUTS), ("evaluation", {"rows": 120})], 0.5),
        price=0.5,
        qvm=figures_of(held, Calibration("temperature", slope=1.6)),
        lineage=[
            {"stage": "problems", "key": "3c5a1b7e90d2f4a68b1c0e57", "rows": 2500},
            {"stage": "rollouts", "key": "e4d909c290d0fb1ca068ffad", "rows": 32000},
            {"stage": "labels", "key": "9a0364b9e99bb480dd25e1f0", "rows": 95311},
            {"stage": "qvm", "key": "1f3870be274f6c49b3e31a0c", "rows": 4096},
            {"stage": "evaluation", "key": "6512bd43d9caa6e02c990b0a", "rows": 1500},
        ],
        environment={
            "python": "3.11.9",
            "platform": "Linux x86_64",
            "cores": 2,
            "packages": {"torch": "2.13.0", "transformers": "5.19.0", "polars": "2.1.0"},
            "commit": "c36af67d1a5b2f1e0c9d8b7a6f5e4d3c2b1a0f9e",
            "modified": False,
        },
        fingerprints={"policy": NoisyPlayer.fingerprint, "qvm": NoisyValue.fingerprint},
    )


@lru_cache(maxsize=1)
def swept() -> pl.DataFrame:
    """All three methods on the held-out problems at four budgets, without their trees."""
    config = RunConfig()
    parts = []
    for tokens in config.comparison.tokens:
        budget = Budget(tokens, 10_000, 10_000)
        for method in config.evaluation.methods:
            given = NoisyPlayer(), NoisyValue(), config, lambda *_: None
            found, _ = evaluate(held_out(), method, *given, None, budget)
            frame = pl.DataFrame(found).drop("nodes", "anytime")
            parts.append(frame.with_columns(budget=pl.lit(float(tokens))))
    return pl.concat(parts)


def sweep_of(frame: pl.DataFrame, unit: str) -> Sweep:
    """A sweep as `qstar compare` makes it; seconds grow with the tokens."""
    spent = frame.group_by("method", "budget").agg(pl.col("policy_tokens").sum() / 400)
    seconds = {(method, budget): s for method, budget, s in spent.iter_rows()}
    rows = sweep(frame, seconds, "best-of-N", resamples=2000)
    return Sweep(unit, rows, reach(frame, rows, "best-of-N", resamples=2000))


@lru_cache(maxsize=1)
def comparison_data() -> ComparisonData:
    """The report of a comparison over tokens and seconds, with a price."""
    data, frame = report_data(), swept()
    timed = frame.with_columns(budget=pl.col("budget") / 1000)
    return ComparisonData(
        name="demo",
        key=data.key,
        created=data.created,
        command="qstar compare deployments/demo.yaml",
        config=data.config,
        tokens=sweep_of(frame, "tokens"),
        seconds=sweep_of(timed, "seconds"),
        correction="holm",
        price=0.5,
        workers=2,
        lineage=[*data.lineage[:-1], {"stage": "comparison", "key": data.key, "rows": 480}],
        environment=data.environment,
        fingerprints=data.fingerprints,
    )


def against_data() -> ReportData:
    """The same report against a run in which A* lost some problems and won others."""
    data = report_data()
    swapped = (
        pl.when(pl.col("outcome") == "correct").then(pl.lit("wrong")).otherwise(pl.lit("correct"))
    )
    changed = (pl.col("method") == "A*") & (pl.int_range(pl.len()) % 2 == 0)
    other = data.searches.with_columns(outcome=pl.when(changed).then(swapped).otherwise("outcome"))
    rows = compare_runs(data.searches, other, resamples=500)
    differences = [
        {"field": "labels.method", "this": "soft", "other": "best_of_rollouts"},
        {"field": HOSTILE, "this": HOSTILE, "other": HOSTILE},
    ]
    return replace(
        data,
        against=Against(
            this="demo b1f0c7c5",
            other="demo 77aa01de",
            rows=rows,
            changes=changes(data.searches, other),
            summary=summary(rows, differences),
            differences=differences,
            stages=[
                {"stage": "rollouts", "this": "e4d9", "other": "e4d9", "same": True},
                {"stage": "labels", "this": "9a03", "other": "77aa", "same": False},
            ],
        ),
    )


def hostile_data() -> ReportData:
    """The same report with hostile text wherever a text can stand."""
    data = report_data()

    def spoil(row: dict[str, Any]) -> dict[str, Any]:
        nodes = [{**node, "text": node["text"] + HOSTILE} for node in row["nodes"]]
        texts = {name: row[name] + HOSTILE for name in ("prompt", "reference", "answer", "reason")}
        return {**row, **texts, "steps": [s + HOSTILE for s in row["steps"]], "nodes": nodes}

    rows = [spoil(row) for row in data.searches.head(3).iter_rows(named=True)]
    return replace(
        data,
        name=HOSTILE,
        command=HOSTILE,
        config={"field": HOSTILE},
        environment={HOSTILE: HOSTILE},
        searches=pl.DataFrame(rows, schema=data.searches.schema),
    )
