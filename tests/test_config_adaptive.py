from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from qstar_core.adaptive.actions import space_of
from qstar_core.config import RunConfig, SearchConfig
from qstar_core.config_adaptive import AdaptiveConfig, asks_q, expanded

K = {"name": "k", "values": [2, 4]}
WORD = {"name": "word", "values": ["a", "b"]}


def adaptive(**fields: Any) -> AdaptiveConfig:
    return AdaptiveConfig.model_validate(fields)


def run(adaptive: dict[str, Any] | None, **method: Any) -> RunConfig:
    methods = [{"name": "it", "algorithm": "adaptive", **method}]
    given: dict[str, Any] = {"evaluation": {"methods": methods, "baseline": "it"}}
    return RunConfig.model_validate({**given, "adaptive": adaptive})


@pytest.mark.parametrize("in_two", [False, True])
def test_without_factors_it_is_the_paper_s_space(in_two: bool) -> None:
    config = adaptive(instruction_in_two=in_two)
    space = space_of(config)
    assert (space.size, space.names) == (config.size, config.names)


def test_own_factors_make_the_space() -> None:
    config = adaptive(factors=[K, WORD], template="{word} {prompt}")
    space = space_of(config)
    assert (space.size, space.names) == (4, ("k", "word")) == (config.size, config.names)
    assert space.render("1 2 > 3", (0, 1)) == "b 1 2 > 3"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"factors": [K, K]}, "different names"),
        ({"factors": [WORD]}, "neither said in the template nor a setting"),
        ({"factors": [WORD], "template": "{wort} {prompt}"}, "no factor is called wort"),
        ({"template": "{prompt}!"}, "goes with factors"),
        ({"factors": [{"name": "k", "values": [0, 2]}]}, "greater than or equal to 1"),
        ({"factors": [{"name": "algorithm", "values": ["astra"]}]}, "astar"),
        ({"factors": [{"name": "algorithm", "values": ["adaptive"]}]}, "is no search"),
        ({"method": {"name": "x", "algorithm": "adaptive"}}, "answered by a search"),
        ({"source": "logged"}, "set logged: all"),
        ({"logged": 0, "ablations": True}, "no best fixed configuration"),
        ({"reward": "model"}, "needs reward_model"),
        ({"reward": "judge"}, "needs judge"),
        ({"baseline": "leave_one_out"}, "per_question"),
        ({"episode": 3}, "Extra inputs"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        adaptive(**fields)


@pytest.mark.parametrize(
    ("section", "method", "words"),
    [
        (None, {}, "needs the section adaptive"),
        ({"logged": 0}, {"choose": "fixed"}, "needs adaptive.logged"),
        ({}, {"choose": "linucb"}, "set adaptive.linucb"),
        ({}, {"choose": "factor", "factor": "steps"}, "set adaptive.ablations"),
        ({"ablations": True}, {"choose": "factor", "factor": "k"}, "one of temperature, steps"),
        ({}, {"choose": "oracle"}, "8,800 configurations"),
    ],
)
def test_a_method_whose_choice_is_not_trained_is_refused(
    section: dict[str, Any] | None, method: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        run(section, **method)


def test_learners_are_the_policy_and_what_is_asked_beside_it() -> None:
    assert adaptive().learners() == ("policy",)
    both = adaptive(factors=[K, WORD], template="{word}{prompt}", ablations=True, linucb=0.5)
    assert both.learners() == ("policy", "only-k", "only-word", "linucb")


def test_only_searches_that_rank_by_q_ask_for_it() -> None:
    assert not any(map(asks_q, adaptive().searches()))
    algorithms = {"name": "algorithm", "values": ["greedy", "self_consistency", "astar"]}
    method = {"name": "s", "algorithm": "greedy", "reward": "rules"}
    inner = adaptive(factors=[algorithms, K], method=method).searches()
    assert [asks_q(each) for each in inner] == [False, False, True]
    assert [each.reward for each in inner] == ["rules"] * 3
    asked = SearchConfig(name="it", algorithm="adaptive")
    assert expanded([asked], adaptive()) == adaptive().searches()
    assert expanded([inner[0]], None) == [inner[0]]


def test_learning_settings_are_those_of_the_section() -> None:
    config = adaptive(episodes=100, batch_size=10, annealing={"tau_0": 2.0})
    assert config.learning().rows().items() <= config.rows().items()
    assert config.learning().annealing.tau_0 == 2.0


def test_the_key_of_a_method_that_is_not_adaptive_has_no_choice_in_it() -> None:
    plain = SearchConfig(name="greedy", algorithm="greedy").rows()
    assert not {"choose", "factor"} & set(plain)
    own = SearchConfig(name="it", algorithm="adaptive", choose="factor", factor="k").rows()
    assert own == {"name": "it", "algorithm": "adaptive", "choose": "factor", "factor": "k"}
