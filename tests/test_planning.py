from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qstar_core import pipeline
from qstar_core.config import CountdownRanges, DomainConfig, PoolConfig, RunConfig
from qstar_core.domains import countdown, gsm8k, problem_sets
from qstar_core.errors import UserError
from qstar_core.planning import made_first
from qstar_core.rollouts.pool_size import largest
from qstar_core.stage import COMMANDS, ROWS_VERSION, Stage, kind_of
from tests.models import tiny_policy


def plan(tmp_path: Path, **more: Any) -> dict[str, Stage]:
    return pipeline.plan(config(tmp_path, **more))


def config(tmp_path: Path, **more: Any) -> RunConfig:
    given = {"out": str(tmp_path / "out"), "policy": {"path": str(tiny_policy())}, **more}
    return RunConfig.model_validate(given)


def fitted(**fields: Any) -> dict[str, Any]:
    return {"labels": {"method": "fitted_q", **fields}}


def test_a_name_says_what_a_stage_makes() -> None:
    names = ["pool_states", "pool_a_b", "labels_1", "labels", "qvm_12", "qvm", "comparison_report"]
    kinds = ["pool", "pool", "labels", "labels", "qvm", "qvm", "comparison_report"]
    assert [kind_of(name) for name in names] == kinds
    assert set(COMMANDS) == set(ROWS_VERSION)


def test_the_rounds_are_a_chain_of_data_sets(tmp_path: Path) -> None:
    stages = plan(tmp_path, **fitted(rounds=3))
    chain = ["labels_1", "qvm_1", "labels_2", "qvm_2", "labels", "qvm"]
    assert list(stages) == ["problems", "rollouts", *chain, "evaluation", "report"]
    assert list(stages["labels_1"].inputs) == ["problems", "rollouts"]
    assert list(stages["labels_2"].inputs) == ["problems", "rollouts", "qvm_1"]
    assert list(stages["qvm_2"].inputs) == ["problems", "labels_2"]
    assert stages["labels"].inputs["qvm_2"] == stages["qvm_2"].uri
    assert stages["evaluation"].rows["qvm"] == stages["qvm"].key
    for name in chain:
        assert stages[name].uri.endswith(f"/{kind_of(name)}/{stages[name].key}")
        assert pipeline.estimate(stages[name], config(tmp_path, **fitted()))["shards"] == 1
    assert made_first(stages, "labels") == chain[:4]
    assert made_first(stages, "qvm") == [*chain[:4], "labels"]
    assert made_first(stages, "rollouts") == ["problems"]
    assert made_first(plan(tmp_path), "qvm") == made_first(plan(tmp_path), "labels") == []


def test_rollouts_of_a_script_need_no_weights(tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text('{"prompt": "1 2 > 3\\n", "texts": ["1 + 2 = 3 left 3"]}\n')
    policy = {"backend": "scripted", "path": str(script)}
    run = RunConfig.model_validate({"out": str(tmp_path / "out"), "policy": policy})
    assert list(pipeline.plan(run, until="rollouts")) == ["problems", "rollouts", "labels"]
    with pytest.raises(UserError, match=r"qvm\.init: a scripted policy has no weights") as caught:
        pipeline.plan(run)
    assert "--set qvm.init=FOLDER" in caught.value.next_step


def test_a_missing_pool_names_the_command_that_makes_it(tmp_path: Path) -> None:
    stages = plan(tmp_path, pools=[{"kind": "states"}])
    with pytest.raises(UserError, match="labels: its input pool_states is not there") as caught:
        pipeline.check_inputs(stages["labels"], ("problems", "rollouts"))
    assert "qstar rollouts CONFIG --from-states" in caught.value.next_step


def test_an_engine_may_draw_more_than_searches_are_charged(tmp_path: Path) -> None:
    run = RunConfig.model_validate(
        {
            "out": str(tmp_path),
            "domain": {"test_problems": 10},
            "rollouts": {"max_new_tokens": 50},
            "qvm": {"path": "reference:countdown-qvm"},
            "evaluation": {
                "max_policy_tokens": 100,
                "methods": [
                    {"name": "greedy", "algorithm": "greedy"},
                    {"name": "best-of-N", "algorithm": "best_of_n", "n": 99, "k": 1, "width": 1},
                    {"name": "A*", "algorithm": "astar", "k": 20, "width": 1},
                ],
            },
        }
    )
    stage = pipeline.plan(run)["evaluation"]
    charged = pipeline.estimate(stage, run)["policy_tokens"]
    more = 8 * 50 + 20 * min(32, run.evaluation.max_step_tokens)
    assert pipeline.drawn_tokens(stage, run) == charged + 10 * more


LINES = [countdown.expected_tokens(n) for n in (2, 3)]  # left of a play of four numbers


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({"kind": "states", "samples": 3}, (16 * 2 * 3, 16 * 3 * sum(LINES))),
        ({"kind": "states", "samples": 3, "max_states": 2}, (2 * 3, 2 * 3 * LINES[1])),
        (
            {"kind": "states", "samples": 1, "max_samples": 9, "tokens_per_problem": 2000},
            (16 * 2 * 9, 2000),
        ),
        ({"kind": "stronger"}, (16 * 2, 16 * sum(LINES))),
        ({"kind": "binary_search", "samples": 4}, (16 * 2 * 4, 16 * 2 * 4 * LINES[1])),
        ({"kind": "mcts", "tokens_per_problem": 300}, (1, 300)),
    ],
)
def test_a_pool_is_no_larger_than_planned(
    tmp_path: Path, pool: dict[str, Any], expected: tuple[int, int]
) -> None:
    size = problem_sets.left_tokens(DomainConfig(ranges=CountdownRanges(numbers=(4,))), 96)
    assert largest(PoolConfig.model_validate(pool), 16, *size) == expected
    mixed = DomainConfig(ranges=CountdownRanges(numbers=(4, 3)))
    assert problem_sets.left_tokens(mixed, 96) == size
    assert problem_sets.expected_tokens(mixed, 96) == countdown.expected_tokens(4)
    run = config(tmp_path, pools=[pool], domain={"train_problems": 10})
    name = f"pool_{pool['kind']}"
    estimate = pipeline.estimate(pipeline.plan(run)[name], run)
    assert estimate["policy_tokens"] == 10 * expected[1]
    assert (estimate["units"], estimate["shards"]) == (10 * expected[0], 1)


STATES = 3 * (gsm8k.MAX_STEPS - 1)  # of three rollouts


@pytest.mark.parametrize(
    ("pool", "samples", "tokens"),
    [
        ({"kind": "states", "samples": 2}, STATES * 2, STATES * 2 * 50),
        ({"kind": "stronger", "max_states": 4}, 4, 4 * 50),
        ({"kind": "binary_search", "samples": 2}, 3 * 5 * 2, 3 * 5 * 2 * 50),
        ({"kind": "mcts", "simulations": 5, "k": 2}, 1, 5 * 2 * (50 + 50)),
    ],
)
def test_where_lengths_are_not_known_a_sample_may_take_all_its_tokens(
    pool: dict[str, Any], samples: int, tokens: int
) -> None:
    size = problem_sets.left_tokens(DomainConfig(name="gsm8k"), 50)
    assert largest(PoolConfig.model_validate(pool), 3, *size) == (samples, tokens)
