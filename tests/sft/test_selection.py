from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.config import SftConfig
from qstar_core.errors import UserError
from qstar_core.sft import selection

OUTCOMES = ("correct", "wrong", "no_answer")
STEPS = pl.List(pl.Struct({"text": pl.String, "ended": pl.Boolean}))
SCHEMA = {
    "problem_id": pl.String,
    "rollout_id": pl.String,
    "outcome": pl.String,
    "steps": STEPS,
}
ROW = st.tuples(
    st.sampled_from("abcde"),
    st.sampled_from(OUTCOMES),
    st.lists(st.sampled_from(["x\n", "y\n", "z"]), max_size=3),
    st.booleans(),
)
ANY = SftConfig(min_problems=1, holdout=0.0, per_problem=2)


def frame(rows: list[Any]) -> pl.DataFrame:
    """Rollouts from (problem, outcome, step texts, ended); the id is the place."""
    made = [
        {
            "problem_id": problem,
            "rollout_id": f"{place:04d}",
            "outcome": outcome,
            "steps": [
                {"text": text, "ended": ended and k == len(texts) - 1}
                for k, text in enumerate(texts)
            ],
        }
        for place, (problem, outcome, texts, ended) in enumerate(rows)
    ]
    return pl.DataFrame(made, schema=SCHEMA)


def chosen(rows: pl.DataFrame, config: SftConfig = ANY, seed: int = 0) -> pl.DataFrame:
    try:
        return selection.select(rows.lazy(), config, seed)
    except UserError:  # nothing is correct
        return pl.DataFrame(schema=selection.SELECTED)


@given(st.lists(ROW, max_size=30), st.integers(1, 3))
def test_each_solution_once_and_at_most_so_many_per_problem(rows: list[Any], cap: int) -> None:
    found = chosen(frame(rows), ANY.model_copy(update={"per_problem": cap}))
    correct = Counter(
        (problem, "".join(texts))
        for problem, outcome, texts, _ in rows
        if outcome == "correct" and texts
    )
    pairs = list(found.select("problem_id", "text").iter_rows())
    assert len(set(pairs)) == len(pairs) and set(pairs) <= set(correct)
    kinds = Counter(problem for problem, _ in correct)
    assert Counter(found["problem_id"]) == {p: min(cap, n) for p, n in kinds.items()}
    for problem, text, count in found.select("problem_id", "text", "rollouts").iter_rows():
        assert count == correct[problem, text]


@given(st.lists(ROW, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_decides_nothing(rows: list[Any], random: Any) -> None:
    given_rows = frame(rows)
    places = list(range(len(rows)))
    random.shuffle(places)
    assert chosen(given_rows[places]).equals(chosen(given_rows))


@given(st.lists(ROW, max_size=30))
def test_the_choice_of_a_problem_does_not_depend_on_the_others(rows: list[Any]) -> None:
    whole = chosen(frame(rows))
    alone = chosen(frame(rows).filter(pl.col("problem_id") == "a"))
    assert whole.filter(pl.col("problem_id") == "a").equals(alone)


@given(st.lists(ROW, max_size=30), st.integers(0, 5))
def test_a_larger_share_per_problem_only_adds(rows: list[Any], seed: int) -> None:
    one, two = (
        chosen(frame(rows), ANY.model_copy(update={"per_problem": n}), seed) for n in (1, 2)
    )
    assert set(one["rollout_id"]) <= set(two["rollout_id"])


@given(st.lists(ROW, max_size=40), st.floats(0.0, 0.9))
def test_a_problem_is_held_out_with_all_its_solutions(rows: list[Any], share: float) -> None:
    found = chosen(frame(rows), ANY.model_copy(update={"holdout": share}))
    for problem, held in found.select("problem_id", "heldout").iter_rows():
        assert held == selection.held_out(problem, share, 0)
    counted = selection.figures(found)
    assert counted["solutions"] + counted["heldout_solutions"] == len(found)


def test_the_share_that_is_held_out() -> None:
    held = [selection.held_out(str(k), 0.25, 3) for k in range(4000)]
    assert 0.22 < sum(held) / 4000 < 0.28
    assert not any(selection.held_out(str(k), 0.0, 3) for k in range(100))


def test_another_seed_chooses_others() -> None:
    rows = [("p", "correct", [f"{k}\n"], True) for k in range(30)]
    picked = {tuple(chosen(frame(rows), ANY, seed)["text"]) for seed in range(5)}
    assert len(picked) > 1


def test_solutions_of_one_form_count_once() -> None:
    rows = frame([("p", "correct", ["a\n", "b"], True), ("p", "correct", ["b\n", "a"], True)])
    both = selection.select(rows.lazy(), ANY, 0)
    one = selection.select(rows.lazy(), ANY, 0, {"0000": "ab", "0001": "ab"})
    assert (len(both), len(one)) == (2, 1)
    assert one["rollouts"].to_list() == [2]


def test_the_text_is_the_steps_joined_and_ends_where_the_policy_ended_it() -> None:
    rows = frame([("p", "correct", ["a\n", "b"], True), ("q", "correct", ["c\n"], False)])
    found = selection.select(rows.lazy(), ANY, 0).sort("problem_id")
    assert found["text"].to_list() == ["a\nb", "c\n"]
    assert found["ended"].to_list() == [True, False]


@pytest.mark.parametrize("correct", [0, 3])
def test_too_few_problems_are_refused(correct: int) -> None:
    rows = [(f"p{k}", "correct" if k < correct else "wrong", ["a"], True) for k in range(9)]
    strict = ANY.model_copy(update={"min_problems": 5})
    with pytest.raises(UserError, match=f"{correct} problems have a correct rollout") as caught:
        selection.select(frame(rows).lazy(), strict, 0)
    assert "rollouts.samples" in caught.value.next_step
    assert ("sft.min_problems=3" in caught.value.next_step) == (correct == 3)
