from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from qstar_core.config import CountdownRanges, RolloutsConfig
from qstar_core.domains import countdown_problems
from qstar_core.mdp import Step
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.policies.transformers import TransformersPolicy
from qstar_core.rollouts import drift
from qstar_core.rollouts.continuations import Ask, advance
from qstar_core.rollouts.paths import PATHS, Sampling, found, request, seeds_of, steps_of
from qstar_core.rollouts.sample import SCHEMA, sample_rollouts

PROBLEMS = countdown_problems.generate("train", 4, CountdownRanges(numbers=(4,)), seed=0)
CONFIG = RolloutsConfig(samples=3, max_new_tokens=60)
SAMPLING = Sampling("states", "p", 1.0, 60, 0)


def test_paths_are_rollouts_with_two_more_columns() -> None:
    assert PATHS.names == [*SCHEMA.names, "source", "prefix_steps"]
    assert not any(field.nullable for field in PATHS)


def test_a_request_has_the_room_that_the_given_steps_leave() -> None:
    given = (Step("a\n", 10), Step("b\n", 7))
    ask = request(PROBLEMS[0], given, [5, 6], SAMPLING)
    assert ask is not None
    assert (ask.prompt, ask.written) == (PROBLEMS[0].prompt, "a\nb\n")
    assert (ask.max_steps, ask.max_new_tokens, ask.seeds) == (1, 43, (5, 6))


@pytest.mark.parametrize(
    "given",
    [
        (Step("a", 4, ended=True),),  # the policy ended it
        (Step("a\n", 4),) * 3,  # all lines are written
        (Step("a\n", 60),),  # no token is left
    ],
)
def test_what_cannot_be_continued_is_not_asked_for(given: tuple[Step, ...]) -> None:
    assert request(PROBLEMS[0], given, [1], SAMPLING) is None


CHANGES: list[dict[str, Any]] = [
    {"source": "stronger"},
    {"policy": "q"},
    {"temperature": 0.5},
    {"max_new_tokens": 59},
    {"seed": 1},
]


@pytest.mark.parametrize("change", CHANGES)
def test_seeds_and_ids_are_of_everything_that_decides_a_sample(change: dict[str, Any]) -> None:
    names = ("source", "policy", "temperature", "max_new_tokens", "seed")
    other = Sampling(**{**{name: getattr(SAMPLING, name) for name in names}, **change})
    usual = seeds_of(PROBLEMS[0], "s", range(3), SAMPLING)
    assert seeds_of(PROBLEMS[0], "s", [1], SAMPLING) == usual[1:2]
    places = [(PROBLEMS[0], "s", other), (PROBLEMS[1], "s", SAMPLING), (PROBLEMS[0], "t", SAMPLING)]
    for problem, state, sampling in places:
        assert not set(usual) & set(seeds_of(problem, state, range(3), sampling))
    assert SAMPLING.id_of("path", "x", 0) != other.id_of("path", "x", 0)


def engine(batch: int) -> TransformersPolicy:
    folder = resolve_checkpoint("reference:countdown-policy", "policy.path")
    return TransformersPolicy(folder, "float64", "cpu", batch)


def pool(size: int, batch: int) -> list[Any]:
    """Two continuations of the state after the first line of each problem's first rollout."""
    policy = engine(batch)
    rows = sample_rollouts(PROBLEMS, policy, CONFIG, seed=0).to_pylist()
    firsts = {r["problem_id"]: r for r in reversed(rows)}

    def begin(problem: Any) -> Any:
        row = firsts[problem.id]
        if row["n_steps"] > 1:
            yield [Ask(row["steps"][1]["state_id"], steps_of(row, 1), 0, 2)]

    sampling = Sampling("states", policy.fingerprint, 1.0, CONFIG.max_new_tokens, 0)
    parts = [PROBLEMS[k : k + size] for k in range(0, len(PROBLEMS), size)]
    return [path for part in parts for path in advance(part, begin, policy, sampling)]


def test_rows_do_not_depend_on_batch_or_shard() -> None:
    whole = pool(4, 256)
    assert whole and pool(1, 3) == whole
    assert pa.Table.from_pylist(whole, schema=PATHS).to_pylist() == whole


def test_the_drift_of_continuations_is_measured_from_their_rows() -> None:
    table = pa.Table.from_pylist(pool(4, 256), schema=PATHS)
    config = CONFIG.model_copy(update={"drift_requests": 5})
    measured = drift.measure(table, PROBLEMS, engine(7), config, seed=0)
    assert measured == {"replayed": min(5, table.num_rows), "differ": 0}


def test_a_path_that_a_search_found() -> None:
    steps = (Step("a\n", 3), Step("b\n", 4), Step("c", 5, ended=True))
    path = found(PROBLEMS[0], steps, 2, 7, SAMPLING)
    assert (path["prefix_steps"], path["tokens"], path["n_steps"]) == (2, 5, 3)
    assert (path["sample_index"], path["finish"], path["source"]) == (7, "end", "states")
    assert path["rollout_id"] == found(PROBLEMS[0], steps, 1, 8, SAMPLING)["rollout_id"]
