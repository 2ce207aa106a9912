from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.keys import ID_DIGITS, canonical_json, content_id, fraction, sample_seed
from qstar_core.mdp import Problem, State, Step, Trajectory

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON)
def test_ids_are_functions_of_the_value(value: object) -> None:
    again = json.loads(canonical_json(value))
    assert content_id(value) == content_id(again)
    assert len(content_id(value)) == ID_DIGITS


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert content_id(value) == content_id(dict(reversed(value.items())))


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_different_values_have_different_ids(a: list[str], b: list[str]) -> None:
    assert (content_id(*a) == content_id(*b)) == (a == b)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError):
        content_id(float("nan"))


@given(st.integers(0, 2**31), st.text(max_size=20), st.integers(0, 1000))
def test_sample_seeds_are_63_bit_and_distinct(seed: int, row: str, index: int) -> None:
    value = sample_seed(seed, row, index)
    assert 0 <= value < 2**63
    assert value != sample_seed(seed, row, index + 1)
    assert value != sample_seed(seed + 1, row, index)


PROBLEM = Problem("countdown", "1 2 > 3\n", "{}")


def test_states_and_trajectories_are_hashable_and_know_their_text() -> None:
    state = State(PROBLEM).after(Step("a\n", 2)).after(Step("b", 1, ended=True))
    assert state.text == "1 2 > 3\na\nb"
    assert len({state, State(PROBLEM), State(PROBLEM)}) == 2
    assert Trajectory(state, 0.5).to_dict()["steps"] == ["a\n", "b"]
    assert Problem(**PROBLEM.to_dict()) == PROBLEM


def test_an_id_is_what_a_thing_is() -> None:
    test = Problem("countdown", "1 2 > 3\n", "{}", split="test")
    assert test.id == PROBLEM.id
    one = State(PROBLEM, (Step("a\n", 2, -1.0),))
    assert one.id == State(PROBLEM, (Step("a\n", 9, -7.0),)).id
    assert one.id != State(PROBLEM, (Step("a"), Step("\n"))).id
    assert Trajectory(one, 1.0).id == Trajectory(one, 0.0).id


@given(JSON)
def test_a_fraction_is_a_function_of_the_value(value: object) -> None:
    assert 0.0 <= fraction("one", value) < 1.0
    assert fraction("one", value) == fraction("one", json.loads(canonical_json(value)))
    assert fraction("one", value) != fraction("two", value)


def test_fractions_are_those_that_the_published_data_sets_were_split_by() -> None:
    assert fraction("holdout", "p", 0) == int(content_id("holdout", "p", 0)[:12], 16) / 16**12
