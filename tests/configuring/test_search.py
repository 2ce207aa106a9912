"""Adaptive search: easy questions get greedy, hard ones a vote, at a price per token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qstar_core.config import RunConfig, SearchConfig
from qstar_core.configuring.evaluate import evaluate_adaptive
from qstar_core.configuring.models import Models
from qstar_core.domains import countdown, problem_sets
from qstar_core.mdp import Problem
from qstar_core.policies.script import ScriptPolicy
from qstar_core.store import dataset
from tests.configuring.runs import config_of, texts_of
from tests.provenance.runs import make

VOTES = 7
FACTORS = [{"name": "algorithm", "values": ["greedy", "self_consistency"]}]


def hard(problem: Problem) -> bool:
    """Whether the script's first text is wrong; three of four are right all the same."""
    return countdown.start(problem)[1] > 10


def texts(problem: Problem) -> list[str]:
    right, wrong, *_ = texts_of(problem)
    return [wrong, right, right, right] if hard(problem) else [right]


def of_searches(out: Path, **adaptive: Any) -> RunConfig:
    """A run whose factors are settings alone; nothing is said in the prompt."""
    method = {"name": "search", "algorithm": "greedy", "n": VOTES}
    shape = {"factors": FACTORS, "template": "{prompt}", "method": method}
    config = config_of(out, **shape, price_per_token=0.001, **adaptive)
    with Path(config.policy.path).open("w", encoding="utf-8") as file:
        for split in ("train", "test"):
            for problem in problem_sets.problems(config.domain, split, config.seed):
                file.write(json.dumps({"prompt": problem.prompt, "texts": texts(problem)}) + "\n")
    return config


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    looked_up = {"logged": "all", "source": "logged", "episodes": 6000, "batch_size": 30}
    config = of_searches(tmp_path_factory.mktemp("search") / "out", **looked_up)
    stages = make(config, "evaluation")
    manifest = dataset.read_manifest(stages["evaluation"].uri)
    assert manifest is not None
    assert "qvm" not in stages  # neither of the two ranks by Q
    return {row["method"]: row for row in manifest["figures"]["comparison"]}


def test_the_best_fixed_search_is_reached_with_fewer_tokens(
    table: dict[str, dict[str, Any]],
) -> None:
    adaptive, fixed = table["adaptive"], table["fixed"]
    assert fixed["algorithm"] == "self_consistency"
    assert adaptive["algorithm"] == "adaptive"  # it takes both
    assert adaptive["accuracy"] > fixed["accuracy"] - 0.1
    assert adaptive["policy_tokens"] < 0.75 * fixed["policy_tokens"]


def test_the_oracle_is_right_where_any_search_is_and_takes_the_cheapest(
    table: dict[str, dict[str, Any]],
) -> None:
    assert table["oracle"]["accuracy"] >= max(row["accuracy"] for row in table.values())
    assert table["oracle"]["policy_tokens"] < table["fixed"]["policy_tokens"]


def test_without_a_price_the_tokens_do_not_matter(tmp_path: Path) -> None:
    config = of_searches(tmp_path / "out", logged="all", source="logged")
    assert config.adaptive is not None
    free = config.adaptive.model_copy(update={"price_per_token": 0.0, "episodes": 200})
    stages = make(config.model_copy(update={"adaptive": free}), "adaptive")
    manifest = dataset.read_manifest(stages["adaptive"].uri)
    assert manifest is not None
    estimates = {row["policy"]: row["utility"] for row in manifest["figures"]["estimates"]}
    assert estimates["fixed"] > 0.9


def test_the_progress_of_an_oracle_counts_problems(tmp_path: Path) -> None:
    config = of_searches(tmp_path / "out")
    problems = list(problem_sets.problems(config.domain, "test", config.seed))[:4]
    method = SearchConfig(name="oracle", algorithm="adaptive", choose="oracle")
    models = Models(ScriptPolicy(config.policy.path))
    told: list[tuple[int, int, str, str]] = []
    table, _ = evaluate_adaptive(
        problems, method, models, config, {}, lambda *event: told.append(event)
    )
    assert len(table) == 4 and told[-1][:3] == (4, 4, "searches")
    assert {total for _, total, *_ in told} == {4}
    assert "of 8 solved" in told[-1][3] and told[-1][3].endswith("2 trials a problem")
