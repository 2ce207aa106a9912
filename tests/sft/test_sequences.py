from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from qstar_core.errors import UserError
from qstar_core.policies import SampleRequest
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.policies.text import Vocabulary
from qstar_core.policies.transformers import TransformersPolicy
from qstar_core.sft.sequences import Sequences, check_fits, encode, end_token, tokens
from tests.models import copied, tiny_policy

PROMPT, SOLUTION = "3 2 1 > 6\n", "3 + 2 = 5 | 5 1 > 6\n5 + 1 = 6 | 6 > 6"


def test_a_solution_has_the_tokens_that_the_policy_sampled_it_in() -> None:
    folder = resolve_checkpoint("reference:countdown-policy", "policy.path")
    policy = TransformersPolicy(folder, "float32", "cpu", 16)
    ask = SampleRequest("9 6 4 1 > 7\n", tuple(range(8)), 3, 96, 1.0)
    vocabulary = policy.vocabulary
    for sample in policy.sample([ask])[0]:
        text = "".join(step.text for step in sample.steps)
        prompt, solution = tokens(vocabulary, ask.prompt, text, sample.steps[-1].ended)
        assert (tuple(prompt),) == tuple(vocabulary.encode([ask], 128))
        assert len(solution) == sample.tokens
        assert vocabulary.tokenizer.decode(solution, skip_special_tokens=True) == text
        assert (solution[-1] in vocabulary.eos) == (sample.finish == "end")


def test_the_prompt_of_a_chat_model_goes_through_its_template(tmp_path: Path) -> None:
    folder = copied(tiny_policy(), tmp_path / "chat")
    template = "{% for m in messages %}9 {{ m.content }}{% endfor %}"
    template += "{% if add_generation_prompt %}8 {% endif %}"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    chat, plain = Vocabulary(folder, True), Vocabulary(tiny_policy())
    asked = SampleRequest(PROMPT, (), 1, 1, 0.0)
    prompt, solution = tokens(chat, PROMPT, SOLUTION, True)
    assert tuple(prompt) == chat.encode([asked], 128)[0]
    assert prompt != tokens(plain, PROMPT, SOLUTION, True)[0]
    assert solution == tokens(plain, PROMPT, SOLUTION, True)[1]
    assert solution[-1] == end_token(chat)


class Merging:
    """A tokenizer of two characters each, so that tokens span prompt and solution."""

    eos_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, Any]:
        pairs = [text[k : k + 2] for k in range(0, len(text), 2)]
        return {"input_ids": [1 + sum(map(ord, pair)) for pair in pairs]}


def test_a_token_never_spans_prompt_and_solution() -> None:
    def asked(ask: SampleRequest) -> str:
        return ask.text

    fake: Any = SimpleNamespace(tokenizer=Merging(), chat=False, eos={0}, asked=asked)
    prompt, solution = tokens(fake, "abc", "de", False)
    assert prompt == Merging()("abc", True)["input_ids"]
    assert solution == Merging()("de", False)["input_ids"]
    assert tokens(fake, "ab", "de", True)[1] == [1 + ord("d") + ord("e"), 0]


def test_the_mask_is_over_the_solution_and_what_is_too_long_is_left_out() -> None:
    vocabulary = Vocabulary(tiny_policy())
    rows = {"problem_id": ["p", "p"], "text": [SOLUTION, "6 > 6"], "ended": [True, False]}
    found = encode(pl.DataFrame(rows), {"p": PROMPT}, vocabulary, 96)
    prompt, solution = tokens(vocabulary, PROMPT, SOLUTION, True)
    assert found.ids[0] == prompt + solution
    assert found.masks[0] == [0] * len(prompt) + [1] * len(solution)
    assert found.trained_tokens == len(solution) + 3
    assert found.padding == pytest.approx(0.5 - (len(prompt) + 3) / len(found.ids[0]) / 2)
    short = encode(pl.DataFrame(rows), {"p": PROMPT}, vocabulary, len(found.ids[0]) - 1)
    assert (short.rows, short.too_long) == ([1], 1)


def test_what_the_model_cannot_take_is_refused() -> None:
    with pytest.raises(UserError, match="none of 7 solutions fits into 9 tokens") as caught:
        check_fits(Sequences(too_long=7), 100, 9)
    assert "sft.max_length=18" in caught.value.next_step
    with pytest.raises(UserError, match="has the token 100, its model's embedding only 100"):
        check_fits(Sequences([[5, 100]], [[0, 1]], [0]), 100, 9)
    check_fits(Sequences([[5, 99]], [[0, 1]], [0]), 100, 9)
