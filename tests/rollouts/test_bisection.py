from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qstar_core.config import PoolConfig
from qstar_core.mdp import Problem
from qstar_core.rollouts.bisection import bisection, undecided
from qstar_core.rollouts.continuations import Asking, advance
from qstar_core.rollouts.paths import is_correct
from tests.rollouts.toy import Toy, texts
from tests.search.trees import trees

DEEP: Any = {"yes": 1.0}
for letter in "hgfedcba":  # a right way of nine steps that can be left for a wrong one at each
    DEEP = {f"{letter}\n": DEEP, f"{letter}x\n": {"y\n": {"z\n": {"no": 0.0}}}}
POOL = PoolConfig(
    kind="binary_search", samples=600
)  # so many that a state that can reach the answer shows it


def sample(toy: Toy, rollouts: dict[str, list[Any]], pool: PoolConfig = POOL) -> list[Any]:
    def begin(problem: Problem) -> Asking:
        return bisection(problem, rollouts[problem.id], pool)

    return advance(toy.problems, begin, toy.policy(), toy.sampling("binary_search"))


def first_wrong(path: Any, paths: list[Any]) -> int:
    """By bisection over what paths show; 0 where the path is right."""
    if is_correct(path):
        return 0
    right = {tuple(texts(p, d)) for p in paths if is_correct(p) for d in range(p["n_steps"])}
    low, high = 0, path["n_steps"]
    while high - low > 1:
        middle = (low + high) // 2
        if tuple(texts(path, middle)) in right:
            low = middle
        else:
            high = middle
    return high


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    right, wrong = {"yes": 1.0, "no": 0.0}, {"d\n": {"never": 0.0}}
    return Toy([{"a\n": {"b\n": right, "c\n": wrong}}], monkeypatch)


def test_a_wrong_rollout_is_bisected_and_a_right_one_is_left_alone(toy: Toy) -> None:
    rows = toy.rollouts(40)
    problem = toy.problems[0].id
    wrong = next(r for r in rows[problem] if texts(r)[-1] == "never")
    paths = sample(toy, {problem: [wrong]})
    # T = 4: the state after two steps, which is bad, then that after one, which is good
    assert [texts(p, p["prefix_steps"]) for p in paths[:1]] == [["a\n", "c\n"]]
    assert {tuple(texts(p, p["prefix_steps"])) for p in paths} == {("a\n", "c\n"), ("a\n",)}
    assert len(paths) == 2 * POOL.samples
    assert first_wrong(wrong, paths) == 2
    right = [r for r in rows[problem] if is_correct(r)]
    assert sample(toy, {problem: right}) == []
    # what a right rollout passes through needs no sample
    known = sample(toy, {problem: [wrong, right[0]]})
    assert {tuple(texts(p, p["prefix_steps"])) for p in known} == {("a\n", "c\n")}


def test_no_state_is_sampled_twice_and_nothing_stays_undecided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy = Toy([DEEP], monkeypatch)
    problem = toy.problems[0].id
    rows = {problem: toy.rollouts(30)[problem]}
    paths = sample(toy, rows, PoolConfig(kind="binary_search", samples=8))
    places = [(*texts(p, p["prefix_steps"]), p["sample_index"]) for p in paths]
    assert len(set(places)) == len(places)
    good = {s["state_id"] for p in [*rows[problem], *paths] if is_correct(p) for s in p["steps"]}
    sampled = {p["steps"][p["prefix_steps"]]["state_id"] for p in paths}
    assert not any(undecided(r, good, sampled) for r in rows[problem] if not is_correct(r))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees(depth=4), seed=st.integers(0, 3))
def test_the_first_wrong_step_is_the_true_one(
    tree: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy([tree], monkeypatch)
    problem = toy.problems[0]
    rows = toy.rollouts(3, seed)[problem.id]
    for row in [r for r in rows if not is_correct(r)][:1]:
        paths = sample(toy, {problem.id: [row]})
        states = {p["steps"][p["prefix_steps"]]["state_id"] for p in paths}
        assert len(states) <= math.ceil(math.log2(max(1, row["n_steps"])))
        node, true = tree, row["n_steps"]
        for depth, text in enumerate(texts(row), start=1):
            node = node[text]
            if not solvable(node):
                true = depth
                break
        assert first_wrong(row, paths) == true


def solvable(tree: Any) -> bool:
    return any(map(solvable, tree.values())) if isinstance(tree, dict) else tree == 1.0
