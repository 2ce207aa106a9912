from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qstar_core.adaptive.actions import ActionSpace, paper_space
from qstar_core.adaptive.wording import BASES, VARIATIONS
from qstar_core.config_adaptive import Factor
from qstar_core.errors import UserError
from tests.adaptive.bandits import space_of

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True).filter(lambda n: n != "prompt")
VALUES = st.one_of(
    st.integers(-5, 50), st.text(max_size=5), st.floats(0, 1, allow_nan=False).map(lambda x: x)
)


@st.composite
def spaces(draw: st.DrawFn) -> ActionSpace:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    factors = [
        Factor(name=n, values=tuple(draw(st.lists(VALUES, min_size=1, max_size=6, unique=True))))
        for n in names
    ]
    return ActionSpace(factors=tuple(factors))


@given(spaces(), st.data())
def test_actions_configurations_and_numbers_are_the_same_thing(
    space: ActionSpace, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, space.size - 1))
    action = tuple(space.numbered([number])[0].tolist())
    assert space.number([action]).tolist() == [number]
    assert space.action(space.configuration(action)) == action
    assert list(space.all_actions())[number] == action


@given(spaces())
def test_a_space_is_the_same_after_json(space: ActionSpace) -> None:
    again = ActionSpace.model_validate_json(space.model_dump_json())
    assert again == space and again.id == space.id
    assert ActionSpace.model_validate(json.loads(space.model_dump_json())).id == space.id


def test_the_paper_has_three_factors() -> None:
    space = paper_space()
    assert space.names == ("temperature", "steps", "instruction")
    assert space.widths == (11, 8, 100) and space.size == 8800
    temperature, steps, _ = space.factors
    assert temperature.values == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert steps.values == tuple(range(3, 11))
    assert len(set(BASES.values())) == len(set(VARIATIONS.values())) == 10


def test_an_instruction_in_two_factors_says_the_same() -> None:
    whole, parts = paper_space(), paper_space(instruction_in_two=True)
    assert parts.size == whole.size and parts.id != whole.id
    common = {"temperature": 0.4, "steps": 7}
    one = whole.action({**common, "instruction": "rigorous/details"})
    two = parts.action({**common, "base": "rigorous", "variation": "details"})
    said = whole.render("What is 2 + 2?", one)
    assert said == parts.render("What is 2 + 2?", two)
    assert said.startswith("What is 2 + 2?\n\n")
    assert BASES["rigorous"] in said and VARIATIONS["details"] in said and "at most 7" in said


@given(st.text())
def test_a_question_stands_in_its_prompt_as_it_is(question: str) -> None:
    assert question + " {instruction} {steps}" in paper_space().render(
        question + " {instruction} {steps}", (0, 0, 0)
    )


def test_whatever_changes_a_prompt_changes_the_id() -> None:
    def space(
        values: tuple[Any, ...], texts: tuple[str, ...] = (), template: str = "{prompt}"
    ) -> str:
        factor = Factor(name="tag", values=values, texts=texts)
        return ActionSpace(factors=(factor,), template=template).id

    ids = [
        space((1, 2)),
        space((2, 1)),
        space((1.0, 2.0)),
        space(("1", "2")),
        space((1, 2), ("one", "two")),
        space((1, 2), template="{prompt}{tag}"),
    ]
    assert len(set(ids)) == len(ids)
    assert space_of(3, 2).id == space_of(3, 2).id


@pytest.mark.parametrize(
    "content",
    [
        {"factors": []},
        {"factors": [{"name": "a", "values": []}]},
        {"factors": [{"name": "a", "values": [1, 1]}]},
        {"factors": [{"name": "a", "values": [1, 2], "texts": ["one"]}]},
        {"factors": [{"name": "prompt", "values": [1]}]},
        {"factors": [{"name": "a", "values": [1]}, {"name": "a", "values": [2]}]},
        {"factors": [{"name": "a", "values": [float("nan")]}]},
        {"factors": [{"name": "a", "values": [1]}], "template": "{prompt} {b}"},
        {"factors": [{"name": "A b", "values": [1]}]},
        {"factors": [{"name": "a", "values": [1]}], "more": 1},
    ],
)
def test_a_space_that_means_nothing_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ActionSpace.model_validate(content)


def test_unknown_factors_and_values_are_named() -> None:
    space = paper_space()
    good = {"temperature": 0.5, "steps": 3, "instruction": "clear/details"}
    with pytest.raises(UserError, match="unknown factor 'top_p'") as unknown:
        space.action({**good, "top_p": 1})
    assert "temperature, steps, instruction" in unknown.value.next_step
    with pytest.raises(UserError, match="factor steps has no value 11") as value:
        space.action({**good, "steps": 11})
    assert "3, 4, 5" in value.value.next_step
    with pytest.raises(UserError, match="lacks a value of steps"):
        space.action({"temperature": 0.5, "instruction": "clear/details"})
    for action in [(0, 0), (0, 0, 100), (-1, 0, 0)]:
        with pytest.raises(UserError, match="do not fit the factors"):
            space.configuration(action)
    with pytest.raises(UserError, match="do not fit"):
        space.check(np.zeros(3, dtype=np.int64))


def test_pinned_leaves_one_factor_to_choose_and_keeps_the_prompts() -> None:
    space = paper_space()
    fixed = space.configuration((3, 2, 41))
    pinned = space.pinned(fixed, ["steps"])
    assert pinned.widths == (1, 8, 1)
    for k in range(8):
        assert pinned.render("q", (0, k, 0)) == space.render("q", (3, k, 41))
        assert space.action(pinned.configuration((0, k, 0))) == (3, k, 41)
    with pytest.raises(UserError, match="unknown factor 'prompt'"):
        space.pinned(fixed, ["prompt"])
