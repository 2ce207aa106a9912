"""n random rollouts from every problem, as one Parquet row per trajectory.

A row's id and seed are functions of the problem, the policy's fingerprint, the sampling
parameters, the run seed and the sample index, so a shard's rows depend neither on the shard's
size nor on the batch nor on the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from qstar_core.config import RolloutsConfig
from qstar_core.domains import DOMAINS
from qstar_core.domains.many import grade_many
from qstar_core.grading import Grade
from qstar_core.keys import content_id, sample_seed
from qstar_core.mdp import Problem
from qstar_core.policies import Policy, Sample, SampleRequest
from qstar_core.policies.steps import step_rule
from qstar_core.store.columns import column

ROWS_AT_A_TIME = 500
STEP = pa.struct(
    [
        column("text", pa.string(), "The step, the newline that ends it included", True),
        column("tokens", pa.int32(), "Policy tokens it took, end of text included", True),
        column(
            "logprob",
            pa.float64(),
            "Sum of their log-probabilities at temperature 1, in nats",
            True,
        ),
        column("ended", pa.bool_(), "Whether the policy ended the text after it", True),
        column("state_id", pa.string(), "The state before it, by content", True),
        column("action_id", pa.string(), "The step in that state, by content", True),
    ]
)
SCHEMA = pa.schema(
    [
        column("rollout_id", pa.string(), "The trajectory, by what determines it"),
        column("problem_id", pa.string(), "The problem, a row of the problems data set"),
        column("sample_index", pa.int32(), "Place among the samples of its problem, from 0"),
        column("seed", pa.int64(), "Seed of its random stream"),
        column("steps", pa.list_(STEP), "The steps in order"),
        column("n_steps", pa.int32(), "T, how many they are"),
        column("tokens", pa.int32(), "Policy tokens that were sampled"),
        column("finish", pa.string(), "Why it ended: end (of text), steps or length (a limit)"),
        column(
            "outcome",
            pa.string(),
            "What the grader found: correct, wrong, no_answer, timeout or grader_error",
        ),
        column("answer", pa.string(), "The answer that was found in it"),
        column("grader", pa.string(), "What decided the outcome"),
        column("grader_version", pa.string(), "Version of the grader"),
        column("policy", pa.string(), "Fingerprint of the policy"),
        column("temperature", pa.float64(), "Temperature it was sampled at"),
        column("split", pa.string(), "Split of the problem"),
    ]
)


def requests_for(
    problems: Sequence[Problem], config: RolloutsConfig, policy: str, seed: int
) -> list[tuple[list[str], SampleRequest]]:
    """For every problem the ids of its rollouts and the request that makes them."""
    asks = []
    for problem in problems:
        shape = [problem.id, policy, config.temperature, config.max_new_tokens]
        ids = [content_id("rollout", *shape, seed, k) for k in range(config.samples)]
        row = content_id("rollouts", *shape)
        ask = SampleRequest(
            prompt=problem.prompt,
            seeds=tuple(sample_seed(seed, row, k) for k in range(config.samples)),
            max_steps=DOMAINS[problem.domain].max_steps(problem),
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            rule=step_rule(problem.domain),
        )
        asks.append((ids, ask))
    return asks


def step_ids(problem: Problem, texts: Sequence[str]) -> list[tuple[str, str]]:
    """(state id, action id) of every step: the state before it, and the step taken there.

    An action's id names the state it leads to, so equal prefixes share ids.
    """
    ids = []
    for t in range(len(texts)):
        state = content_id("state", problem.id, list(texts[:t]))
        ids.append((state, content_id("action", state, texts[t])))
    return ids


def sample_rollouts(
    problems: Sequence[Problem],
    policy: Policy,
    config: RolloutsConfig,
    seed: int,
    done: Callable[[int, int], None] | None = None,
) -> pa.Table:
    """Samples and grades all rollouts of some problems.

    Returns:
        A table of `SCHEMA`, rows in the order of problems and sample indices.
    """
    asks = requests_for(problems, config, policy.fingerprint, seed)
    samples = policy.sample([ask for _, ask in asks], done)
    grades = iter(_grades(problems, samples))
    rows = (
        rollout_row(
            problem,
            rollout_id,
            sample,
            policy=policy.fingerprint,
            sample_index=index,
            seed=ask.seeds[index],
            temperature=ask.temperature,
            grade=next(grades),
        )
        for problem, (ids, ask), drawn in zip(problems, asks, samples, strict=True)
        for index, (rollout_id, sample) in enumerate(zip(ids, drawn, strict=True))
    )
    return as_table(rows)


def as_table(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """A table of `SCHEMA`; of the rows, which take many times its memory, some at a time."""
    parts = [SCHEMA.empty_table()]
    rows = iter(rows)
    while some := list(islice(rows, ROWS_AT_A_TIME)):
        parts.append(pa.Table.from_pylist(some, schema=SCHEMA))
    return pa.concat_tables(parts).combine_chunks()


def _grades(problems: Sequence[Problem], samples: Sequence[Sequence[Sample]]) -> list[Grade]:
    """The grades of all samples of all problems, which are of one domain, in their order."""
    pairs = [
        (problem, [step.text for step in sample.steps])
        for problem, drawn in zip(problems, samples, strict=True)
        for sample in drawn
    ]
    return grade_many(problems[0].domain, pairs) if pairs else []


def rollout_row(
    problem: Problem,
    rollout_id: str,
    sample: Sample,
    *,
    policy: str,
    sample_index: int,
    seed: int,
    temperature: float,
    grade: Grade | None = None,
) -> dict[str, Any]:
    """The row of a whole trajectory; its columns are those of `SCHEMA`.

    Args:
        problem: it is about.
        rollout_id: of the row.
        sample: all its steps, its tokens and its finish.
        policy: fingerprint of what made it.
        sample_index: its number among the samples of the request.
        seed: of the sample.
        temperature: it was sampled at.
        grade: if it is known; else it is graded here.
    """
    domain = DOMAINS[problem.domain]
    texts = [step.text for step in sample.steps]
    grade = domain.grade(problem, texts) if grade is None else grade
    steps = [
        {
            "text": step.text,
            "tokens": step.tokens,
            "logprob": step.logprob,
            "ended": step.ended,
            "state_id": state_id,
            "action_id": action_id,
        }
        for step, (state_id, action_id) in zip(sample.steps, step_ids(problem, texts), strict=True)
    ]
    return {
        "rollout_id": rollout_id,
        "problem_id": problem.id,
        "sample_index": sample_index,
        "seed": seed,
        "steps": steps,
        "n_steps": len(steps),
        "tokens": sample.tokens,
        "finish": sample.finish,
        "outcome": str(grade.outcome),
        "answer": grade.answer,
        "grader": domain.GRADER,
        "grader_version": domain.GRADER_VERSION,
        "policy": policy,
        "temperature": temperature,
        "split": problem.split,
    }
