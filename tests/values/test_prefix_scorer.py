"""Scoring with shared and cached prefixes gives the values of scoring each text by itself."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaPreTrainedModel

from qstar_core.policies.batching import alike
from qstar_core.values import prefix_scorer
from qstar_core.values.packing import Pack
from qstar_core.values.prefix_scorer import first_of_kin, in_batches
from qstar_core.values.score import TransformersValue
from tests.models import copied, tiny_qvm

WORDS = ["1", "2", "3", "+", "-"]


def make(dtype: str = "float64", cache_mb: int = 1, **settings: Any) -> TransformersValue:
    """A value model that packs and caches sequences of any length."""
    value = TransformersValue(tiny_qvm(), dtype, "cpu", 8, cache_mb)
    if cache_mb:
        value.scorer.cached_from = 3
    for name, setting in settings.items():
        setattr(value.scorer, name, setting)
    return value


@pytest.fixture(scope="module")
def naive() -> TransformersValue:
    return make(cache_mb=0, shares=False)


def text(words: list[int]) -> str:
    return " ".join(WORDS[word] for word in words)


PATHS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=14), min_size=1, max_size=24)


@settings(max_examples=40, deadline=None)
@given(
    paths=PATHS,
    calls=st.integers(1, 5),
    capacity=st.sampled_from([0, 3, 10, 1000]),
    shuffle=st.randoms(use_true_random=False),
)
def test_values_are_the_naive_ones_whatever_is_cached(
    naive: TransformersValue,
    paths: list[list[int]],
    calls: int,
    capacity: int,
    shuffle: random.Random,
) -> None:
    value = make()
    token_bytes = 2 * 32 * 8  # keys and values of one layer
    value.scorer.cache.max_bytes = capacity * token_bytes
    for _ in range(calls):
        some = shuffle.sample(paths, shuffle.randint(1, len(paths)))
        texts = [text(path) for path in some]
        ended = [shuffle.random() < 0.3 for _ in some]
        assert value.score(texts, ended) == naive.score(texts, ended)
        assert value.scorer.cache.used_bytes <= value.scorer.cache.max_bytes


def test_float32_agrees_to_1e_4(naive: TransformersValue) -> None:
    rng = random.Random(0)
    start = [rng.randrange(5) for _ in range(60)]
    value = make("float32")
    for _ in range(4):
        children = [start + [rng.randrange(5) for _ in range(8)] for _ in range(6)]
        texts, ended = [text(child) for child in children], [False] * 6
        found = value.score(texts, ended)
        assert found == pytest.approx(naive.score(texts, ended), abs=1e-4)
        start = children[rng.randrange(6)]


class Counting:
    """Counts the tokens that a model computes."""

    def __init__(self, value: TransformersValue) -> None:
        self.model, self.passes, self.tokens = value.scorer.model, 0, 0
        value.scorer.model = self

    def __call__(self, input_ids: torch.Tensor, **arguments: Any) -> Any:
        self.passes += 1
        self.tokens += input_ids.numel()
        return self.model(input_ids=input_ids, **arguments)


def test_a_search_computes_only_new_tokens() -> None:
    value = make()
    counting = Counting(value)
    state = "1 2 3 1 2 3 1 2 3"  # and the token that begins a text
    value.score([f"{state} {word}" for word in "123"], [False] * 3)
    assert (counting.passes, counting.tokens) == (1, 10 + 3)
    for length in range(3):
        state += " 1" if length else " 2"
        value.score([f"{state} {word}" for word in "123"], [False] * 3)
        assert counting.tokens == 13 + 3 * (length + 1)


def test_without_a_cache_nothing_is_kept() -> None:
    value = make(cache_mb=0)
    counting = Counting(value)
    for _ in range(2):
        value.score(["1 2 3 1 2 3 1", "1 2 3 1 2 3 2"], [False, False])
    assert counting.tokens == 2 * (8 + 1)
    assert value.scorer.cache.used_bytes == 0


def test_short_texts_do_not_go_through_the_cache() -> None:
    value = TransformersValue(tiny_qvm(), "float64", "cpu", 8)
    value.score(["1 2 3", "1 2 1"], [False, True])
    assert value.scorer.cache.used_bytes == 0


def test_equal_texts_are_computed_once_and_none_needs_no_pass(naive: TransformersValue) -> None:
    value = make()
    counting = Counting(value)
    assert value.score([], []) == []
    assert counting.passes == 0
    found = value.score(["1 2", "1 2", "1 2"], [False, True, False])
    assert found[0] == found[2] != found[1]
    assert counting.tokens == 4


def test_a_model_that_sees_more_than_ancestors_is_not_packed(
    naive: TransformersValue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix_scorer, "DynamicLayer", object)  # as if the layers had windows
    value = TransformersValue(tiny_qvm(), "float64", "cpu", 8)
    assert not value.scorer.shares
    texts, ended = ["1 2 3 1", "1 2 3 2", "1 2"], [False, True, False]
    assert value.score(texts, ended) == naive.score(texts, ended)


ATTENTION = [  # the checkpoint's, whether its architecture has SDPA, whether beginnings are shared
    ("sdpa", True, True),
    ("eager", True, True),
    ("eager", False, False),
]


@pytest.mark.parametrize(("named", "has_sdpa", "shares"), ATTENTION)
def test_values_are_the_naive_ones_with_any_attention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, has_sdpa: bool, shares: bool
) -> None:
    monkeypatch.setattr(LlamaPreTrainedModel, "_supports_sdpa", has_sdpa)
    folder = copied(tiny_qvm(), tmp_path / "qvm", attn_implementation=named)
    value = TransformersValue(folder, "float64", "cpu", 8, 1)
    assert value.scorer.model.config._attn_implementation == ("sdpa" if shares else "eager")
    assert value.scorer.shares is shares
    if shares:
        value.scorer.cached_from = 3
    texts = ["1 2 3 1", "1 2 3 2 2 2", "1 2", "1 2 3 1 1", "3"]
    model = value.scorer.model
    for _ in range(2):  # the second time from the cache
        found = value.score(texts, [False] * len(texts))
        for one_text, q in zip(texts, found, strict=True):
            ids = value.tokenizer(one_text, return_tensors="pt")["input_ids"]
            naive = torch.sigmoid(model(input_ids=ids).logits[0, -1, 0]).item()
            assert q == pytest.approx(naive, abs=1e-6)


def test_rows_of_their_own_are_masked_where_they_are_padded() -> None:
    value = make(cache_mb=0, shares=False)
    seen: list[Any] = []
    forward = value.scorer.model

    def looking(**arguments: Any) -> Any:
        seen.append(arguments["attention_mask"].sum(-1).tolist())
        return forward(**arguments)

    value.scorer.model = looking
    value.score(["1 2 3 1", "1"], [False, False])
    assert seen == [[2, 5]]  # with the token that begins a text


def one(tokens: str, held: int = 0) -> Pack:
    sequence = tuple(map(ord, tokens))
    return Pack((sequence,), (0,), held, len(sequence) - held)


def test_packs_with_a_long_beginning_in_common_wait_for_the_first_of_them() -> None:
    packs = [one("abcdX"), one("abcdY"), one("abcdZ"), one("abQ"), one("k")]
    now, later = first_of_kin(packs, 4)
    assert now == [packs[0], packs[3], packs[4]]
    assert later == packs[1:3]
    at_hand = [one("abcdX", 4), one("abcdY", 4)]
    assert first_of_kin(at_hand, 4) == (at_hand, [])


def test_a_few_shot_prompt_of_many_problems_is_computed_once(naive: TransformersValue) -> None:
    rng = random.Random(1)
    shots = [rng.randrange(5) for _ in range(20)]
    texts = [text([*shots, *(rng.randrange(5) for _ in range(6))]) for _ in range(40)]
    value = make(batch_size=256)
    counting = Counting(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_scorer, "PACK_TOKENS", 30)
        found = value.score(texts, [False] * 40)
    assert counting.tokens < 0.5 * 40 * 27  # padding included
    assert found == naive.score(texts, [False] * 40)


@given(
    sizes=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 2000)), min_size=1, max_size=30),
    most=st.integers(1, 8),
    past=st.integers(1, 100),
)
def test_batches_keep_their_limits(sizes: list[tuple[int, int]], most: int, past: int) -> None:
    packs = [Pack(((0,) * (h + n),), (0,), h, n) for h, n in sorted(sizes)]
    batches = list(in_batches(packs, most, past))
    assert [pack for batch in batches for pack in batch] == packs
    for batch in batches:
        assert len(batch) <= most
        assert len(batch) == 1 or len(batch) * batch[-1].held <= past
        assert all(alike(batch[0].tokens, pack.tokens) for pack in batch)
