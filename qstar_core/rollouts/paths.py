"""Paths: whole trajectories whose first steps may have been given instead of sampled.

Labels are computed from paths: the rollouts, of which nothing was given, and the rows of pools.
A path has the state and action ids of all its steps, so it shares those of the rollouts that it
branches from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from qstar_core.domains import DOMAINS
from qstar_core.keys import content_id, sample_seed
from qstar_core.mdp import Problem, Step
from qstar_core.policies import Sample, SampleRequest
from qstar_core.policies.steps import step_rule
from qstar_core.rollouts.sample import SCHEMA, rollout_row
from qstar_core.store.columns import column

PATH_COLUMNS = [
    column(
        "source",
        pa.string(),
        "What made the path: rollouts (from the problem), or a pool's kind: states, stronger, "
        "mcts, binary_search",
    ),
    column(
        "prefix_steps",
        pa.int32(),
        "Leading steps that were given and not sampled; 0 from the problem",
    ),
]
"""What a table of paths has besides the columns of rollouts; its ``tokens`` count the sampled steps
alone."""
PATHS = pa.schema([*SCHEMA, *PATH_COLUMNS])

Path = dict[str, Any]
"""A row of `PATHS`, or of rollouts."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the paths of a pool are sampled.

    Attributes:
        source: kind of the pool.
        policy: fingerprint of who samples.
        temperature: of the sampling.
        max_new_tokens: tokens of a whole path at most.
        seed: of the run.
    """

    source: str
    policy: str
    temperature: float
    max_new_tokens: int
    seed: int

    def id_of(self, kind: str, problem_id: str, *what: Any) -> str:
        """The id of something that these settings and the rest decide."""
        shape = [problem_id, self.policy, self.temperature, self.max_new_tokens]
        return content_id(kind, self.source, *shape, self.seed, *what)


def request(
    problem: Problem, given: Sequence[Step], seeds: Sequence[int], sampling: Sampling
) -> SampleRequest | None:
    """The request for continuations of some steps, one for each seed.

    Returns:
        None where there is nothing to continue: the episode is over, or out of tokens.
    """
    domain = DOMAINS[problem.domain]
    steps = domain.max_steps(problem) - len(given)
    tokens = sampling.max_new_tokens - sum(step.tokens for step in given)
    if min(steps, tokens) < 1 or (given and domain.is_terminal(problem, given)):
        return None
    return SampleRequest(
        prompt=problem.prompt,
        written="".join(step.text for step in given),
        seeds=tuple(seeds),
        max_steps=steps,
        max_new_tokens=tokens,
        temperature=sampling.temperature,
        rule=step_rule(problem.domain),
    )


def seeds_of(
    problem: Problem, state_id: str, indices: Sequence[int], sampling: Sampling
) -> list[int]:
    """The seeds of the continuations of a state, by their sample indices."""
    row_id = sampling.id_of("continuations", problem.id, state_id)
    return [sample_seed(sampling.seed, row_id, index) for index in indices]


def continued(
    problem: Problem,
    given: Sequence[Step],
    state_id: str,
    index: int,
    seed: int,
    sample: Sample,
    sampling: Sampling,
) -> Path:
    """The path of some given steps and a sampled continuation of them."""
    made = rollout_row(
        problem,
        sampling.id_of("path", problem.id, state_id, index),
        replace(sample, steps=(*given, *sample.steps)),
        policy=sampling.policy,
        sample_index=index,
        seed=seed,
        temperature=sampling.temperature,
    )
    own = {"tokens": sample.tokens, "source": sampling.source, "prefix_steps": len(given)}
    return {**made, **own}


def found(
    problem: Problem, steps: Sequence[Step], given: int, index: int, sampling: Sampling
) -> Path:
    """A path that a search has found: its number there, the seed is that of the run."""
    finish = "end" if steps[-1].ended else "steps"
    made = rollout_row(
        problem,
        sampling.id_of("path", problem.id, [step.text for step in steps]),
        Sample(tuple(steps), finish),
        policy=sampling.policy,
        sample_index=index,
        seed=sampling.seed,
        temperature=sampling.temperature,
    )
    tokens = sum(step.tokens for step in steps[given:])
    return {**made, "tokens": tokens, "source": sampling.source, "prefix_steps": given}


def steps_of(path: Mapping[str, Any], count: int) -> tuple[Step, ...]:
    """The first steps of a path."""
    names = ("text", "tokens", "logprob", "ended")
    return tuple(Step(*(step[name] for name in names)) for step in path["steps"][:count])


def is_correct(path: Mapping[str, Any]) -> bool:
    """Whether a path ended in the right answer."""
    return bool(path["outcome"] == "correct")
