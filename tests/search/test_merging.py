"""A* with ``merge: state``: no state is lost because the first that came to it is a dead end."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.domains import DOMAINS
from qstar_core.mdp import Problem
from qstar_core.policies.scripted import ScriptedPolicy
from qstar_core.search import Node, SearchResult
from qstar_core.search.driver import run
from tests.search.trees import AMPLE, make_config, make_problem

Q = make_problem()
LEVELS = ("ab", "cd", "ef")
TOO_LONG = "a line of more words than a step may have"
STEP_TOKENS = 4
PATHS = [path for n in range(1, len(LEVELS) + 1) for path in product(*LEVELS[:n])]


class AnyValue:
    """Some value of each text."""

    fingerprint = "any"

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        return [zlib.crc32(text.encode()) % 9 / 8 for text in texts]


@pytest.fixture(scope="module", autouse=True)
def last_step_is_the_state() -> Iterator[None]:
    def canonical(problem: Problem, steps: Sequence[str]) -> str | None:
        return steps[-1].strip() if steps else "start"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DOMAINS["toy"], "canonical", canonical, raising=False)
        yield


def policy_of(dead: set[tuple[str, ...]]) -> ScriptedPolicy:
    """From each letter of a level to each of the next, but only lines too long where it is dead."""
    rows = {Q.prompt: [(f"{letter}\n", 1.0) for letter in LEVELS[0]]}
    for path in PATHS:
        after = LEVELS[len(path)] if len(path) < len(LEVELS) else ""
        options = [(f"{letter}\n", 1.0) for letter in after] or [("X", 1.0), ("Y", 1.0)]
        text = Q.prompt + "".join(f"{letter}\n" for letter in path)
        rows[text] = [(TOO_LONG, 1.0)] if path in dead else options
    return ScriptedPolicy(rows)


def search(dead: set[tuple[str, ...]], **fields: Any) -> SearchResult:
    config = make_config(merge="state", n=10**6, **fields)
    policy = policy_of(dead)
    [result] = run([Q], config, AMPLE, policy, AnyValue(), run_seed=1, max_step_tokens=STEP_TOKENS)
    assert result.error == ""
    return result


def letters(node: Node) -> tuple[str, ...]:
    return tuple(step.text.strip() for step in node.state.steps)


def by_state(result: SearchResult) -> dict[str, list[Node]]:
    found: defaultdict[str, list[Node]] = defaultdict(list)
    for node in result.nodes[1:]:
        if not node.terminal:
            found[letters(node)[-1]].append(node)
    return found


@settings(max_examples=150, deadline=None)
@given(
    dead=st.sets(st.sampled_from(PATHS)),
    heuristic=st.sampled_from(["edge", "lookahead"]),
    reward=st.sampled_from(["none", "rules"]),
    reopen=st.booleans(),
)
def test_a_state_is_followed_unless_all_that_came_to_it_are_dead_ends(
    dead: set[tuple[str, ...]], heuristic: str, reward: str, reopen: bool
) -> None:
    fields = {"reward": reward, "aggregation": "sum", "reopen": reopen}
    result = search(dead, heuristic=heuristic, **fields)
    assert result.stop_reason == "exhausted"
    extended = {node.parent for node in result.nodes}
    for nodes in by_state(result).values():
        alive = [node for node in nodes if letters(node) not in dead]
        assert any(node.id in extended for node in nodes) == bool(alive)
        if reward == "none":  # all have the same g: one is enough
            assert sum(node.id in extended for node in nodes) <= 1


@pytest.mark.parametrize("heuristic", ["edge", "lookahead"])
def test_the_second_comer_takes_the_place_of_a_dead_end(heuristic: str) -> None:
    """c is reached by a first and by b; whichever is first, the other one is followed."""
    for first in "ab":
        result = search({(first, "c")}, heuristic=heuristic)
        extended = {node.parent for node in result.nodes}
        followed = [node for node in by_state(result)["c"] if node.id in extended]
        assert [letters(node) for node in followed] == [({"a": "b", "b": "a"}[first], "c")]


@pytest.mark.parametrize("heuristic", ["edge", "lookahead"])
def test_no_state_is_followed_twice_where_nothing_is_dead(heuristic: str) -> None:
    result = search(set(), heuristic=heuristic)
    assert result.expansions == 1 + sum(map(len, LEVELS))
