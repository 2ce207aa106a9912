from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.labels import METHODS
from qstar_core.labels.best_of_rollouts import best_of_rollouts
from qstar_core.rollouts.sample import SCHEMA


def table(plays: list[tuple[str, list[str], bool]]) -> pl.LazyFrame:
    """Rollouts from (problem, actions, correct)."""
    rows: list[dict[str, Any]] = []
    for k, (problem, actions, correct) in enumerate(plays):
        steps = [
            {
                "text": a,
                "tokens": 1,
                "logprob": -1.0,
                "ended": t == len(actions) - 1,
                "state_id": "/".join([problem, *actions[:t]]),
                "action_id": "/".join([problem, *actions[: t + 1]]),
            }
            for t, a in enumerate(actions)
        ]
        rows.append(
            dict.fromkeys(SCHEMA.names, "")
            | {
                "rollout_id": f"r{k}",
                "problem_id": problem,
                "sample_index": k,
                "seed": k,
                "steps": steps,
                "n_steps": len(actions),
                "tokens": len(actions),
                "outcome": "correct" if correct else "wrong",
                "temperature": 1.0,
            }
        )
    import pyarrow as pa

    frame = pl.from_arrow(pa.Table.from_pylist(rows, schema=SCHEMA))
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()


def slowly(plays: list[tuple[str, list[str], bool]], gamma: float) -> list[tuple[float, int, int]]:
    """(y, samples, successes) of every step, by plain loops."""
    labels = []
    for problem, actions, _ in plays:
        for t in range(1, len(actions) + 1):
            pool = [p for p in plays if p[0] == problem and p[1][:t] == actions[:t]]
            returns = [gamma ** (len(p[1]) - t) * p[2] for p in pool]
            labels.append((max(returns), len(pool), sum(p[2] for p in pool)))
    return labels


def test_the_worked_example() -> None:
    frame = best_of_rollouts(
        table([("p", ["a", "b"], True), ("p", ["a", "c"], False), ("p", ["d", "e"], False)]), 0.5
    ).collect()
    assert frame["action"].to_list() == ["a", "b", "a", "c", "d", "e"]
    assert frame["y"].to_list() == [0.5, 1.0, 0.5, 0.0, 0.0, 0.0]
    assert frame["n_samples"].to_list() == [2, 1, 2, 1, 1, 1]
    assert frame["successes"].to_list() == [1, 1, 1, 0, 0, 0]
    assert frame["step_index"].to_list() == [1, 2, 1, 2, 1, 2]
    low, high = frame["success_low"][0], frame["success_high"][0]
    assert (low, high) == pytest.approx((0.0945, 0.9055), abs=1e-4)


PLAYS = st.lists(
    st.tuples(
        st.sampled_from(["p", "q"]),
        st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@given(PLAYS, st.sampled_from([1.0, 0.9, 0.5]))
def test_agrees_with_plain_loops(plays: list[tuple[str, list[str], bool]], gamma: float) -> None:
    frame = METHODS["best_of_rollouts"](table(plays), gamma).collect()
    got = frame.select("y", "n_samples", "successes").rows()
    for (y, n, k), (expected_y, expected_n, expected_k) in zip(
        got, slowly(plays, gamma), strict=True
    ):
        assert y == pytest.approx(expected_y)
        assert (n, k) == (expected_n, expected_k)
    assert (frame["success_low"] <= frame["success_high"]).all()
