"""A domain of small trees whose leaves say whether they are right, and rollouts in it."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from qstar_core.config import RolloutsConfig
from qstar_core.domains import DOMAINS
from qstar_core.grading import Grade, Outcome
from qstar_core.mdp import Problem, Step
from qstar_core.policies.scripted import ScriptedPolicy
from qstar_core.rollouts.paths import Sampling
from qstar_core.rollouts.sample import sample_rollouts
from tests.search.trees import Tree, make_policy, make_problem

TREE: Tree = {
    "a\n": {"b\n": {"yes": 1.0, "no": 0.0}, "c\n": {"never": 0.0}},
    "d\n": {"e\n": {"nope": 0.0, "nay": 0.0}},
    "f": 0.0,
}


class Toy:
    """Problems with their trees, the policy that draws uniformly from them, and rollouts of it."""

    def __init__(self, forest: Sequence[Tree], monkeypatch: pytest.MonkeyPatch) -> None:
        self.trees = {make_problem(f"q{n}"): tree for n, tree in enumerate(forest)}
        self.problems = list(self.trees)
        monkeypatch.setitem(DOMAINS, "toy", self.domain())

    def policy(self) -> ScriptedPolicy:
        return make_policy(*self.trees.items())

    def rollouts(self, samples: int, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
        config = RolloutsConfig(samples=samples, max_new_tokens=40)
        rows = sample_rollouts(self.problems, self.policy(), config, seed).to_pylist()
        found: dict[str, list[dict[str, Any]]] = {problem.id: [] for problem in self.problems}
        for row in rows:
            found[row["problem_id"]].append(row)
        return found

    def sampling(self, source: str, **fields: Any) -> Sampling:
        given = {"policy": "p", "temperature": 1.0, "max_new_tokens": 40, "seed": 0, **fields}
        return Sampling(source, **given)

    def domain(self) -> ModuleType:
        domain = ModuleType("toy")
        domain.__dict__.update(
            max_steps=lambda problem: 12,
            is_terminal=is_terminal,
            rule_rewards=lambda problem, steps: [0.0] * len(steps),
            grade=self.grade,
            GRADER="toy",
            GRADER_VERSION="1",
        )
        return domain

    def grade(self, problem: Problem, texts: Sequence[str]) -> Grade:
        node: Any = self.trees[problem]
        for text in texts:
            node = node.get(text, 0.0) if isinstance(node, dict) else 0.0
        return Grade(Outcome.CORRECT if node == 1.0 else Outcome.WRONG, texts[-1] if texts else "")


def is_terminal(problem: Problem, steps: Sequence[Step]) -> bool:
    return bool(steps) and steps[-1].ended


def texts(path: dict[str, Any], count: int | None = None) -> list[str]:
    return [step["text"] for step in path["steps"][:count]]
