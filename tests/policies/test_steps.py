from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.mdp import Step
from qstar_core.policies import SampleRequest, StepRule
from qstar_core.policies.steps import StepSplit, as_sample, split_tokens

NEWLINE, EOS = 0, 9
NEWLINES, ENDS = {NEWLINE}, {EOS}


def ask(steps: int = 9, tokens: int = 99, rule: StepRule = StepRule()) -> SampleRequest:  # noqa: B008
    return SampleRequest("q", (0,), steps, tokens, 1.0, rule)


def split(tokens: list[int], request: SampleRequest) -> StepSplit:
    return split_tokens(tokens, request, NEWLINES, ENDS)


@pytest.mark.parametrize(
    ("tokens", "request_", "ends", "finish"),
    [
        ([1, 0, 2, 0, 3, 9], ask(), [2, 4, 6], "end"),
        ([1, 0, 2, 0, 3, 9], ask(steps=2), [2, 4], "steps"),
        ([1, 0, 9], ask(steps=1), [2], "steps"),
        ([9], ask(steps=1), [1], "end"),
        ([1, 0, 2, 3], ask(tokens=4), [2, 4], "length"),
        ([1, 0], ask(tokens=2), [2], "length"),
        ([1, 0], ask(tokens=2, steps=1), [2], "steps"),
        ([1, 2, 0, 3, 9], ask(rule=StepRule(newline=False, tokens=2)), [2, 4, 5], "end"),
        ([1, 2, 3, 0, 4], ask(steps=3, rule=StepRule(tokens=2)), [2, 4, 5], "length"),
        ([1, 0, 2], ask(), [2, 3], "length"),  # the engine stopped early
        ([], ask(), [], "length"),
    ],
)
def test_where_steps_end(
    tokens: list[int], request_: SampleRequest, ends: list[int], finish: str
) -> None:
    found = split(tokens, request_)
    assert (found.ends, found.finish) == (ends, finish)


@given(
    st.lists(st.integers(0, 9), max_size=40),
    st.integers(1, 6),
    st.integers(1, 40),
    st.booleans(),
    st.integers(0, 5),
)
def test_the_limits_hold_and_what_follows_changes_nothing(
    tokens: list[int], steps: int, most: int, newline: bool, each: int
) -> None:
    request = ask(steps, most, StepRule(newline, each))
    found = split(tokens, request)
    assert len(found.ends) <= steps and found.length <= min(most, len(tokens))
    assert found.ends == sorted(set(found.ends)) and found.ends[-1:] in ([found.length], [])
    assert found.finish in ("end", "steps", "length")
    if found.finish != "length" or found.length == most:
        assert split([*tokens, 1, 0, 9], request) == found
    for start, end in zip([0, *found.ends], found.ends, strict=False):
        assert not (newline and NEWLINE in tokens[start : end - 1])
        assert not each or end - start <= each


def test_a_sample_has_texts_logprobs_and_the_surplus() -> None:
    tokens, words = [1, 0, 2, 9, 4, 4], ["a", "\n", "b", "</s>", "x", "x"]
    found = split(tokens, ask())
    sample = as_sample(
        found, [-0.5, -0.25, -1, -2, -9, -9], lambda a, b: "".join(words[a:b]), len(tokens)
    )
    assert sample.steps == (Step("a\n", 2, -0.75), Step("b", 2, -3.0, ended=True))
    assert (sample.finish, sample.surplus, sample.tokens) == ("end", 2, 6)
    assert as_sample(found, [0.0] * 4, lambda a, b: "").surplus == 0
