"""Small tree MDPs with exact Q for the tests of the searches.

A tree is a nested dict from step text to subtree; a leaf is the reward of ending there. Inner
steps end in a newline, the texts of leaves do not, so they end the episode. Step texts are one
word, hence two tokens of the scripted policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from hypothesis import strategies as st

from qstar_core.config import SearchConfig
from qstar_core.mdp import Problem, Step
from qstar_core.policies.scripted import ScriptedPolicy
from qstar_core.search.budget import Budget

Tree = dict[str, Any]
AMPLE = Budget(policy_tokens=10**6, value_calls=10**6, expansions=10**6)
EXAMPLE: Tree = {"a\n": {"x": 0.25, "y": 0.5}, "b\n": {"z": 1.0}, "c": 0.75}


def make_domain() -> ModuleType:
    """A domain whose rule reward of step i is a number read off its text."""
    domain = ModuleType("toy")

    def is_terminal(problem: Problem, steps: Sequence[Step]) -> bool:
        return bool(steps) and steps[-1].ended

    def rule_rewards(problem: Problem, steps: Sequence[str]) -> list[float]:
        return [step_reward(text) for text in steps]

    domain.__dict__.update(
        max_steps=lambda problem: 6,
        is_terminal=is_terminal,
        rule_rewards=rule_rewards,
        answer=lambda problem, steps: steps[-1],
    )
    return domain


def step_reward(text: str) -> float:
    """R_P of a step, in {-0.5, -0.25, .. 0.5}."""
    return (sum(map(ord, text.strip())) % 5 - 2) / 4


def make_problem(name: str = "q") -> Problem:
    return Problem("toy", f"{name}\n", "{}", "test")


def make_config(**fields: Any) -> SearchConfig:
    """A* on Q alone with enough samples to see every action of a small tree."""
    defaults = {"name": "m", "algorithm": "astar", "k": 40, "n": 1, "reward": "none"}
    return SearchConfig(**{**defaults, **fields})


def table(prompt: str, tree: Tree) -> dict[str, list[tuple[str, float]]]:
    """The scripted policy's table: uniform over the children of each state."""
    rows = {prompt: [(text, 1.0) for text in tree]}
    for text, child in tree.items():
        if isinstance(child, dict):
            rows |= table(prompt + text, child)
    return rows


def make_policy(*trees: tuple[Problem, Tree]) -> ScriptedPolicy:
    rows: dict[str, list[tuple[str, float]]] = {}
    for problem, tree in trees:
        rows |= table(problem.prompt, tree)
    return ScriptedPolicy(rows)


def optimum(tree: Tree | float) -> float:
    """The largest reward that can be reached."""
    return max(map(optimum, tree.values())) if isinstance(tree, dict) else tree


def exact_q(prompt: str, tree: Tree, gamma: float = 1.0) -> dict[str, float]:
    """Q*(s, a) by the text of state and action; the reward comes with the last action."""

    def value(node: Tree | float) -> float:
        return gamma * max(map(value, node.values())) if isinstance(node, dict) else node

    table = {prompt + text: value(child) for text, child in tree.items()}
    for text, child in tree.items():
        if isinstance(child, dict):
            table |= exact_q(prompt + text, child, gamma)
    return table


class TableValue:
    """A Q-value model that looks Q up and counts what it is asked."""

    fingerprint = "table"

    def __init__(self, *trees: tuple[Problem, Tree], gamma: float = 1.0) -> None:
        self.table: dict[str, float] = {}
        for problem, tree in trees:
            self.table |= exact_q(problem.prompt, tree, gamma)
        self.calls = 0
        self.asked: list[str] = []

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        self.calls += 1
        self.asked += texts
        return [self.table[text] for text in texts]


def trees(depth: int = 3) -> st.SearchStrategy[Tree]:
    """Random trees with 1 to 3 actions per state and rewards in eighths."""
    rewards = st.integers(0, 8).map(lambda n: n / 8)
    subtree: st.SearchStrategy[Any] = rewards
    for _ in range(depth - 1):
        subtree = st.one_of(rewards, st.lists(subtree, min_size=1, max_size=3).map(_named))
    return st.lists(subtree, min_size=1, max_size=3).map(_named)


def _named(children: list[Any]) -> Tree:
    return {
        f"{letter}\n" if isinstance(child, dict) else letter.upper(): child
        for letter, child in zip("abc", children, strict=False)
    }
