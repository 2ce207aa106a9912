from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qstar_core.config import CountdownRanges, PoolConfig, RolloutsConfig, RunConfig
from qstar_core.domains import DOMAINS, countdown_problems
from qstar_core.grading import Grade, Outcome
from qstar_core.mdp import Problem
from qstar_core.policies import Policy, Sample, SampleRequest
from qstar_core.pooling import rollouts_of, sample_pool
from qstar_core.rollouts.paths import PATHS
from qstar_core.rollouts.progress import SampleProgress
from qstar_core.rollouts.quarantine import sample_shard
from qstar_core.rollouts.sample import SCHEMA, sample_rollouts
from tests.completions_server import Script
from tests.evaluation.test_run_on_servers import served
from tests.rollouts.toy import TREE, Toy

POOLS = [
    PoolConfig(kind="states", samples=2),
    PoolConfig(kind="states", samples=2, max_samples=9, width=0.4, tokens_per_problem=90),
    PoolConfig(kind="stronger", temperature=0.5, samples=2),
    PoolConfig(kind="mcts", simulations=5, k=3),
    PoolConfig(kind="mcts", simulations=50, k=3, tokens_per_problem=60),
    PoolConfig(kind="binary_search", samples=2),
]
NAMES = ["states", "adaptive", "stronger", "mcts", "limited", "binary_search"]
CONFIG = RunConfig(rollouts=RolloutsConfig(max_new_tokens=40))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    return Toy([TREE, {"g\n": {"yes": 1.0, "no": 0.0}}, TREE, {"h": 0.0}], monkeypatch)


def rows(
    toy: Toy, pool: PoolConfig, problems: Sequence[Problem], policy: Policy | None = None
) -> list[Any]:
    def nothing(*_: int) -> None:
        pass

    known = toy.rollouts(5)
    table = sample_pool(problems, known, pool, policy or toy.policy(), CONFIG, nothing, nothing)
    assert table.schema == PATHS
    return list(table.to_pylist())


@pytest.mark.parametrize("pool", POOLS, ids=NAMES)
def test_the_rows_of_a_problem_do_not_depend_on_the_others(toy: Toy, pool: PoolConfig) -> None:
    whole = rows(toy, pool, toy.problems)
    assert whole
    assert [row for problem in toy.problems for row in rows(toy, pool, [problem])] == whole
    assert {row["source"] for row in whole} == {pool.kind}
    assert len({row["rollout_id"] for row in whole}) == len(whole)
    for row in whole:
        assert 0 <= row["prefix_steps"] < row["n_steps"] == len(row["steps"])
        new = row["steps"][row["prefix_steps"] :]
        assert row["tokens"] == sum(step["tokens"] for step in new)
        assert (row["grader"], row["split"]) == ("toy", "test")


def test_stored_rollouts_have_the_outcomes_of_todays_grader(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "part.parquet"
    stored = [row for rows in toy.rollouts(5).values() for row in rows]
    pq.write_table(pa.Table.from_pylist(stored, schema=SCHEMA), file)
    kept = rollouts_of([str(file)], toy.problems[:2])
    assert kept == {p.id: toy.rollouts(5)[p.id] for p in toy.problems[:2]}
    domain = DOMAINS["toy"]
    monkeypatch.setattr(domain, "GRADER_VERSION", "2")
    monkeypatch.setattr(domain, "grade", lambda problem, texts: Grade(Outcome.TIMEOUT))
    found = rollouts_of([str(file)], toy.problems[:2])
    assert {row["outcome"] for rows in found.values() for row in rows} == {"timeout"}
    assert {i: [r["rollout_id"] for r in rows] for i, rows in found.items()} == {
        i: [r["rollout_id"] for r in rows] for i, rows in kept.items()
    }


def test_a_tree_search_holds_no_trajectory_twice(toy: Toy) -> None:
    found = rows(toy, POOLS[3], toy.problems[:1])
    texts = [tuple(step["text"] for step in row["steps"]) for row in found]
    assert len(set(texts)) == len(texts)
    assert [row["sample_index"] for row in found] == list(range(len(found)))


class Refusing:
    """A policy that refuses all that begins with a text."""

    batch_independent = True
    fingerprint = "refusing"

    def __init__(self, inner: Policy, text: str) -> None:
        self.inner, self.text = inner, text

    def sample(self, requests: Sequence[SampleRequest], done: Any = None) -> list[list[Sample]]:
        if any(request.text.startswith(self.text) for request in requests):
            raise ValueError("refused")
        return self.inner.sample(requests, done)


@pytest.mark.parametrize("pool", POOLS, ids=NAMES)
def test_a_poisonous_problem_is_set_aside_alone(toy: Toy, pool: PoolConfig) -> None:
    policy = Refusing(toy.policy(), toy.problems[1].prompt)

    def sample(some: Sequence[Problem]) -> Any:
        nothing: Any = lambda *_: None  # noqa: E731
        return sample_pool(some, toy.rollouts(5), pool, policy, CONFIG, nothing, nothing)

    parts, quarantined = sample_shard(toy.problems, sample, 0.02, retries=1)
    made = [row for part in parts for row in part.to_pylist()]
    problem_id = toy.problems[1].id
    if pool.kind == "binary_search":  # no state of it lies in the middle of a wrong rollout
        needed = any(r["n_steps"] > 1 for r in toy.rollouts(5)[problem_id])
        assert len(quarantined) <= needed
    else:
        assert [q["problem_id"] for q in quarantined] == [problem_id]
        assert "refused" in quarantined[0]["error"]
    plain = Refusing(toy.policy(), "nothing")
    others = [p for p in toy.problems if p.id not in {q["problem_id"] for q in quarantined}]
    assert made == rows(toy, pool, others, plain)


def test_progress_counts_what_is_asked_for_and_done() -> None:
    told: list[Any] = []
    counted = SampleProgress(lambda *what: told.append(what[:3]), "rollouts")
    counted.ask(4)
    counted.done(3, 30)
    counted.done(3, 30)  # two were drawn again
    counted.ask(4)
    counted.done(1, 5)
    assert told == [(3, 4, "rollouts"), (4, 4, "rollouts"), (7, 8, "rollouts")]
    figures = counted.figures([])
    assert figures["tokens"] == 65 and "quarantined" not in figures


@pytest.mark.parametrize("pool", [POOLS[0], POOLS[2], POOLS[3]], ids=["states", "stronger", "mcts"])
def test_a_policy_behind_a_server_makes_pools_too(pool: PoolConfig) -> None:
    problems = countdown_problems.generate("train", 6, CountdownRanges(numbers=(4,)), seed=5)
    config = RunConfig(rollouts=RolloutsConfig(max_new_tokens=60, samples=3))
    with served(Script()) as policy:
        table = sample_rollouts(problems, policy, config.rollouts, seed=0)
        known: dict[str, list[Any]] = {}
        for row in table.to_pylist():
            known.setdefault(row["problem_id"], []).append(row)

        def made(some: Sequence[Problem]) -> list[Any]:
            nothing: Any = lambda *_: None  # noqa: E731
            found = sample_pool(some, known, pool, policy, config, nothing, nothing)
            return list(found.to_pylist())

        whole = made(problems)
        assert whole and {row["policy"] for row in whole} == {policy.fingerprint}
        assert [row for problem in problems for row in made([problem])] == whole
