from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.errors import UserError
from qstar_core.mdp import Step
from qstar_core.policies import SampleRequest, StepRule
from qstar_core.policies.completions import (
    BadAnswer,
    Choice,
    body,
    read_choice,
    read_sample,
    token_ends,
)
from qstar_core.policies.steps import StepSplit, as_sample

WORDS = st.sampled_from(["a", " a", "bb", "\n", ".\n", "\n\n", "x\ny", " ", "\ufffd", "<s>", "1"])


def ask(steps: int = 9, tokens: int = 99, rule: StepRule | None = None) -> SampleRequest:
    return SampleRequest("q", (0,), steps, tokens, 0.7, rule or StepRule())


def answer(
    text: str, words: list[str], finish: str = "stop", stop: str | None = None, **logprobs: Any
) -> Any:
    told = {"tokens": words, "token_logprobs": [-0.5] * len(words), **logprobs}
    choice = SimpleNamespace(
        text=text, finish_reason=finish, stop_reason=stop, logprobs=SimpleNamespace(**told)
    )
    return SimpleNamespace(choices=[choice], usage=SimpleNamespace(prompt_tokens=4))


@given(st.lists(WORDS, max_size=12), st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_steps_are_those_of_an_engine_that_knows_its_tokens(
    words: list[str], steps: int, each: int, newline: bool
) -> None:
    request = ask(steps, max(1, len(words)), StepRule(newline, each))
    words = words[: request.max_steps * each] if each else words
    if not words:
        return
    split = StepSplit(request)
    for word in words:
        split.take("\n" in word, False)
        if split.finish:
            break
    expected = as_sample(split, [-1.0] * len(words), lambda a, b: "".join(words[a:b]), len(words))
    choice = Choice("".join(words), tuple(words), (-1.0,) * len(words), ended=False)
    found = read_sample(choice, request)
    assert choice.text.startswith("".join(s.text for s in found.steps))
    if "\ufffd" not in words:  # a part of a character has no place of its own
        assert found == expected
    assert [s.tokens for s in found.steps] == [s.tokens for s in expected.steps]


@given(st.lists(st.sampled_from(["1", "+", "22", "=", "\n"]), min_size=1, max_size=20))
def test_spaces_that_the_tokens_do_not_have_go_to_the_token_after_them(tokens: list[str]) -> None:
    text = " ".join(tokens).replace(" \n", "\n").replace("\n ", "\n")
    ends = token_ends(text, tokens)
    assert ends == sorted(ends)
    pieces = [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    assert [piece.strip(" ") for piece in pieces] == tokens


@pytest.mark.parametrize(
    ("text", "tokens", "ends"),
    [
        ("a b", ["a", "b"], [1, 3]),
        ("na\u00efve b", ["na", "\ufffd", "\ufffd", "ve", " b"], [2, 2, 2, 5, 7]),
        ("a\n  b", ["a", "\n ", " b"], [1, 3, 5]),
        ("a\nb", ["a\n", "b", "</s>"], [2, 3, 3]),
        ("x a\na", ["a", "\n", "a"], [0, 4, 5]),  # what is not found is not guessed
    ],
)
def test_where_tokens_end(text: str, tokens: list[str], ends: list[int]) -> None:
    assert token_ends(text, tokens) == ends


def test_what_a_stop_left_out_is_put_back() -> None:
    for last, kept in (("\n", ""), (".\n\n", ".")):
        choice = read_choice(answer(f"a b{kept}", ["a", "b", last], stop="\n"), "vllm")
        assert choice.cut and not choice.ended
        sample = read_sample(choice, ask(steps=1))
        assert (sample.steps, sample.finish) == ((Step(f"a b{last}", 3, -1.5),), "steps")


def test_the_end_of_text_is_a_token_of_the_last_step() -> None:
    listed = answer("a\nb", ["a", "\n", "b", "</s>"])
    for dialect in ("vllm", "openai"):
        sample = read_sample(read_choice(listed, dialect), ask())
        assert sample.steps == (Step("a\n", 2, -1.0), Step("b", 2, -1.0, ended=True))
        assert (sample.finish, sample.surplus) == ("end", 0)
    unlisted = read_choice(answer("a\nb", ["a", "\n", "b"]), "openai")
    assert read_sample(unlisted, ask()).steps[1] == Step("b", 2, -0.5, ended=True)
    alone = read_choice(answer("", ["</s>"]), "vllm")
    assert read_sample(alone, ask()).steps == (Step("", 1, -0.5, ended=True),)
    after = read_choice(answer("a\n", ["a", "\n", "</s>"]), "vllm")
    assert read_sample(after, ask()).steps[1] == Step("", 1, -0.5, ended=True)


def test_what_comes_after_the_last_step_is_surplus() -> None:
    choice = read_choice(answer("a\nb\nc", ["a", "\n", "b", "\n", "c", "</s>"]), "openai")
    sample = read_sample(choice, ask(steps=2))
    assert [s.text for s in sample.steps] == ["a\n", "b\n"]
    assert (sample.finish, sample.surplus, sample.tokens) == ("steps", 2, 6)


@pytest.mark.parametrize(
    "broken",
    [
        SimpleNamespace(choices=[], usage=None),
        SimpleNamespace(),
        answer("a", ["a"], finish="abort"),
        answer("a", ["a"], token_logprobs=[None]),
        answer("a", ["a"], token_logprobs=None),
        answer("a", [], tokens=["a", "b"]),
    ],
)
def test_broken_answers(broken: Any) -> None:
    with pytest.raises(BadAnswer):
        read_choice(broken, "vllm")


def test_a_context_that_is_too_short() -> None:
    cut = read_choice(answer("a b", ["a", "b"], finish="length"), "openai")
    with pytest.raises(UserError, match="after 2 of 5 tokens"):
        read_sample(cut, ask(tokens=5))
    assert read_sample(cut, ask(tokens=2), context=6).finish == "length"
    with pytest.raises(UserError, match="4 tokens and 2 new ones exceed"):
        read_sample(cut, ask(tokens=2), context=5)


def test_what_is_asked() -> None:
    plain = body(ask(steps=1), 5, "m", "p", "openai")
    assert "extra_body" not in plain and "stop" not in plain
    assert (plain["seed"], plain["n"], plain["logprobs"], plain["top_p"]) == (5, 1, 1, 1.0)
    for request, stop in ((ask(steps=1), ["\n"]), (ask(steps=2), None)):
        full = body(request, 5, "m", "p", "vllm")
        assert full.get("stop") == stop
        assert full["extra_body"]["repetition_penalty"] == 1.0  # not what the checkpoint has
        assert full["extra_body"]["add_special_tokens"]
    assert not body(ask(), 5, "m", "p", "vllm", templated=True)["extra_body"]["add_special_tokens"]
    assert body(ask(2, 99, StepRule(False, 24)), 5, "m", "p", "vllm")["max_tokens"] == 48
    assert body(ask(steps=1, rule=StepRule(False, 24)), 5, "m", "p", "vllm").get("stop") is None
