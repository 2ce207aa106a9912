from __future__ import annotations

from qstar_core.config import CountdownRanges, RolloutsConfig
from qstar_core.domains import countdown_problems
from qstar_core.policies.transformers import TransformersPolicy
from qstar_core.rollouts.sample import SCHEMA, sample_rollouts, step_ids
from tests.models import tiny_policy

PROBLEMS = countdown_problems.generate("train", 6, CountdownRanges(numbers=(3,)), seed=0)
CONFIG = RolloutsConfig(samples=4, max_new_tokens=40)


def engine(batch_size: int) -> TransformersPolicy:
    return TransformersPolicy(tiny_policy(), "float64", "cpu", batch_size)


def test_rows_do_not_depend_on_batch_or_shard() -> None:
    whole = sample_rollouts(PROBLEMS, engine(256), CONFIG, seed=0)
    assert whole.schema == SCHEMA
    assert whole.num_rows == 24
    parts = [sample_rollouts(PROBLEMS[k : k + 2], engine(3), CONFIG, seed=0) for k in (0, 2, 4)]
    assert [row for part in parts for row in part.to_pylist()] == whole.to_pylist()


def test_seed_and_temperature_change_ids_and_samples() -> None:
    base = sample_rollouts(PROBLEMS, engine(64), CONFIG, seed=0).to_pylist()
    other = sample_rollouts(PROBLEMS, engine(64), CONFIG, seed=1).to_pylist()
    assert not {r["rollout_id"] for r in base} & {r["rollout_id"] for r in other}
    assert [r["steps"] for r in base] != [r["steps"] for r in other]


def test_rows_tell_of_themselves() -> None:
    for row in sample_rollouts(PROBLEMS, engine(64), CONFIG, seed=0).to_pylist():
        assert row["n_steps"] == len(row["steps"])
        assert row["tokens"] == sum(step["tokens"] for step in row["steps"])
        assert row["outcome"] in ("correct", "wrong", "no_answer")
        assert (row["grader"], row["split"]) == ("countdown-exact", "train")


def test_equal_prefixes_share_ids() -> None:
    a, b = (step_ids(PROBLEMS[0], ["x\n", last]) for last in ("y", "z"))
    assert a[0] == b[0]
    assert a[1][0] == b[1][0]
    assert a[1][1] != b[1][1]
    assert step_ids(PROBLEMS[1], ["x\n"])[0] != a[0]
