"""Where the label of a step stands, with tokenizers that merge words otherwise than countdown's."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from qstar_core.errors import UserError
from qstar_core.values.data import encode

TEXTS = [
    "First we add 3 and 4.\nThen\n\nwe double: 14 \n",
    "Änderung 7 * 6 = 42\nSo the answer: 42",
]


def byte_level() -> PreTrainedTokenizerFast:
    """A byte-level BPE as of GPT-2, Llama 3 or Qwen; merges pairs of newlines."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


TOKENIZER = byte_level()


def frame(actions: list[str], ended: bool) -> pl.DataFrame:
    return pl.DataFrame(
        {"problem_id": ["p"], "actions": [actions], "ended": [ended], "y": [[0.5] * len(actions)]}
    )


STEP = st.sampled_from(["add 3\n", "Then we double", "\n", "= 42 \n", "ÄÄ\n", "So the answer: 42"])


@given(st.lists(STEP, min_size=1, max_size=6), st.booleans())
def test_a_step_ends_with_the_token_of_its_last_character(steps: list[str], ended: bool) -> None:
    data = encode(frame(steps, ended), {"p": "Frage: 3 4?\n"}, TOKENIZER)
    [ids], [ends] = data.ids, data.ends
    text = "Frage: 3 4?\n" + "".join(steps)
    assert ids == [*TOKENIZER(text)["input_ids"], *([TOKENIZER.eos_token_id] if ended else [])]
    assert ends == sorted(ends) and ends[-1] == len(ids) - 1
    written = "Frage: 3 4?\n"
    for step, end in zip(steps[:-1], ends[:-1], strict=True):
        written += step
        upto = TOKENIZER.decode(ids[: end + 1])
        before = TOKENIZER.decode(ids[:end])
        assert upto.startswith(written)  # the token may go on into the next step
        assert len(before) < len(written)


def test_a_tokenizer_that_cannot_tell_is_refused() -> None:
    class Slow:
        is_fast, name_or_path = False, "old"

    slow: Any = Slow()
    with pytest.raises(UserError, match="old: its tokenizer does not say"):
        encode(frame(["a"], True), {"p": "b"}, slow)


def test_a_tokenizer_without_an_end_of_text_token_is_refused() -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer)
    encode(frame(["add 3\n"], False), {"p": "Frage: 3 4?\n"}, bare)
    with pytest.raises(UserError, match="names no end-of-text token") as caught:
        encode(frame(["add 3\n"], True), {"p": "Frage: 3 4?\n"}, bare)
    assert "eos_token" in caught.value.next_step
