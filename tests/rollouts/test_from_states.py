from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qstar_core.config import PoolConfig
from qstar_core.mdp import Problem
from qstar_core.rollouts.continuations import Asking, advance
from qstar_core.rollouts.from_states import from_states, states_of, wilson_width
from qstar_core.rollouts.paths import is_correct
from tests.rollouts.toy import TREE, Toy, texts
from tests.search.trees import trees

ADAPTIVE = PoolConfig(kind="states", samples=2, max_samples=40, width=0.35, increment=3)


def sample(toy: Toy, pool: PoolConfig, rollouts: dict[str, list[Any]] | None = None) -> list[Any]:
    rows = toy.rollouts(6) if rollouts is None else rollouts

    def begin(problem: Problem) -> Asking:
        return from_states(problem, rows[problem.id], pool)

    return advance(toy.problems, begin, toy.policy(), toy.sampling(pool.kind))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    return Toy([TREE, {"g\n": {"yes": 1.0}}, {"h": 0.0}], monkeypatch)


def test_every_inner_state_gets_its_continuations(toy: Toy) -> None:
    rollouts = toy.rollouts(60)
    paths = sample(toy, PoolConfig(kind="states", samples=3), rollouts)
    found = Counter((path["problem_id"], *texts(path, path["prefix_steps"])) for path in paths)
    first, second, third = (problem.id for problem in toy.problems)
    inner = [["a\n"], ["a\n", "b\n"], ["a\n", "c\n"], ["d\n"], ["d\n", "e\n"]]
    assert found == {**{(first, *s): 3 for s in inner}, (second, "g\n"): 3}
    assert third not in {path["problem_id"] for path in paths}  # it has no inner state
    for path in paths:
        assert path["tokens"] == sum(s["tokens"] for s in path["steps"][path["prefix_steps"] :])
        assert path["n_steps"] == len(path["steps"]) > path["prefix_steps"] > 0
        assert path["source"] == "states"
    assert len({path["rollout_id"] for path in paths}) == len(paths)


def test_a_path_shares_the_ids_of_the_rollouts_it_branches_from(toy: Toy) -> None:
    rollouts = toy.rollouts(30)
    known = {
        (row["problem_id"], *texts(row, depth)): (step["state_id"], step["action_id"])
        for rows in rollouts.values()
        for row in rows
        for depth, step in enumerate(row["steps"], start=1)
    }
    for path in sample(toy, PoolConfig(kind="states", samples=2), rollouts):
        for depth, step in enumerate(path["steps"], start=1):
            place = (path["problem_id"], *texts(path, depth))
            assert known.get(place, (step["state_id"], step["action_id"])) == (
                step["state_id"],
                step["action_id"],
            )


def test_the_most_visited_states_are_kept(toy: Toy) -> None:
    problem = toy.problems[0]
    rows = toy.rollouts(30)[problem.id]
    every = states_of(problem, rows)
    visits = Counter(
        step["state_id"] for row in rows for step in row["steps"] if step["state_id"] in every
    )
    kept = states_of(problem, rows, 2)
    assert list(kept) == [s for s in every if s in kept]
    assert min(visits[s] for s in kept) >= max(visits[s] for s in every if s not in kept)


@pytest.mark.parametrize(
    ("n", "successes", "width"), [(0, 0, 1.0), (10, 0, 0.2775), (10, 5, 0.5268), (10, 10, 0.2775)]
)
def test_the_width_of_an_interval(n: int, successes: int, width: float) -> None:
    assert wilson_width(n, successes) == pytest.approx(width, abs=1e-4)


def test_uncertain_states_get_more_until_they_are_narrow_or_at_the_limit(toy: Toy) -> None:
    rollouts = toy.rollouts(6)
    paths = sample(toy, ADAPTIVE, rollouts)
    through: dict[str, list[bool]] = defaultdict(list)
    own: Counter[str] = Counter()
    for path in [{**r, "prefix_steps": 0} for rows in rollouts.values() for r in rows] + paths:
        given = path["prefix_steps"]
        for depth in range(max(1, given), path["n_steps"]):
            through[path["steps"][depth]["state_id"]].append(is_correct(path))
        own[path["steps"][given]["state_id"]] += bool(given)
    assert max(own.values()) > ADAPTIVE.samples
    for state_id, seen in through.items():
        if not own[state_id]:
            continue
        narrow = wilson_width(len(seen), sum(seen)) <= ADAPTIVE.width
        assert narrow or own[state_id] == ADAPTIVE.max_samples
        extra = own[state_id] - ADAPTIVE.samples
        assert extra % ADAPTIVE.increment == 0 or own[state_id] == ADAPTIVE.max_samples
    indices = [(p["problem_id"], *texts(p, p["prefix_steps"]), p["sample_index"]) for p in paths]
    assert len(set(indices)) == len(indices)


def test_the_widest_come_first_and_the_tokens_end_it(toy: Toy) -> None:
    rollouts = toy.rollouts(6)
    every = sample(toy, ADAPTIVE, rollouts)
    spent: Counter[str] = Counter()
    for path in every:
        spent[path["problem_id"]] += path["tokens"]
    limit = spent[toy.problems[0].id] // 2
    some = sample(toy, ADAPTIVE.model_copy(update={"tokens_per_problem": limit}), rollouts)
    used = sum(p["tokens"] for p in some if p["problem_id"] == toy.problems[0].id)
    assert used < spent[toy.problems[0].id]
    assert used <= limit + 10 * ADAPTIVE.increment  # a plan may miss by the length of its samples
    tight = sample(toy, ADAPTIVE.model_copy(update={"tokens_per_problem": 1}), rollouts)
    assert len(tight) == len(sample(toy, PoolConfig(kind="states", samples=2), rollouts))


def test_another_policy_counts_its_own_continuations_alone(toy: Toy) -> None:
    pool = PoolConfig(
        kind="stronger", temperature=0.5, samples=2, max_samples=6, width=0.001, increment=4
    )
    paths = sample(toy, pool)
    own = Counter(path["steps"][path["prefix_steps"]]["state_id"] for path in paths)
    assert set(own.values()) == {6}
    greedy = sample(toy, PoolConfig(kind="stronger"))
    assert {path["sample_index"] for path in greedy} == {0}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    forest=st.lists(trees(depth=3), min_size=1, max_size=4),
    adaptive=st.booleans(),
    size=st.integers(1, 3),
)
def test_rows_do_not_depend_on_the_other_problems(
    forest: list[Any], adaptive: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy(forest, monkeypatch)
    rollouts = toy.rollouts(4)
    pool = ADAPTIVE if adaptive else PoolConfig(kind="states", samples=2)
    if adaptive:
        pool = pool.model_copy(update={"tokens_per_problem": 60})
    whole = sample(toy, pool, rollouts)
    problems, parts = toy.problems, []
    for start in range(0, len(problems), size):
        toy.problems = problems[start : start + size]
        parts += sample(toy, pool, rollouts)
    assert parts == whole


def test_a_state_without_room_for_a_token_is_left_out(toy: Toy) -> None:
    rollouts = toy.rollouts(6)

    def begin(problem: Problem) -> Asking:
        return from_states(problem, rollouts[problem.id], ADAPTIVE)

    short = toy.sampling("states", max_new_tokens=3)
    paths = advance(toy.problems, begin, toy.policy(), short)
    assert {path["prefix_steps"] for path in paths} == {1}
    assert all(path["finish"] == "length" for path in paths)
