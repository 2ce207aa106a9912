from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from qstar_core.values.packing import MIN_SHARED, Pack, Tokens, collate, common, pack
from tests.values.sequences import SEQUENCES, naive, random_model


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return random_model()


def held_tokens(sequences: list[Tokens], share: float) -> list[int]:
    """How much of each sequence is at hand: a share of what neighbours have in common."""
    ordered = sorted(sequences)
    most = {
        tokens: min(common(tokens, other), len(tokens) - 1)
        for tokens, other in zip(ordered, [*ordered[1:], ordered[0]], strict=True)
    }
    return [int(share * most[tokens]) for tokens in sequences]


@given(sequences=SEQUENCES, max_tokens=st.integers(1, 60), share=st.sampled_from([0.0, 0.5, 1.0]))
def test_every_sequence_is_in_one_pack(
    sequences: list[Tokens], max_tokens: int, share: float
) -> None:
    held = held_tokens(sequences, share)
    packs = pack(sequences, max_tokens, held)
    assert sorted(k for one in packs for k in one.members) == list(range(len(sequences)))
    for one in packs:
        assert one.sequences == tuple(sequences[k] for k in one.members)
        assert {held[k] for k in one.members} == {one.held}
        assert {tokens[: one.held] for tokens in one.sequences} == {one.past}
        distinct = {tokens[: n + 1] for tokens in one.sequences for n in range(len(tokens))}
        assert one.tokens == len([path for path in distinct if len(path) > one.held])
        assert len(one.members) == 1 or one.tokens <= max_tokens
        if one.held == 0:
            for before, tokens in zip(one.sequences, one.sequences[1:], strict=False):
                assert common(before, tokens) >= MIN_SHARED * len(tokens)


@settings(max_examples=30, deadline=None)
@given(sequences=SEQUENCES)
def test_values_are_those_of_the_sequences_by_themselves(
    model: PreTrainedModel, sequences: list[Tokens]
) -> None:
    batch = collate(pack(sequences, 100))
    hidden = torch.full(batch.mask.shape, torch.finfo(torch.float64).min, dtype=torch.float64)
    for mask in (batch.mask, hidden.masked_fill(batch.mask, 0.0)):
        with torch.inference_mode():
            logits = model(
                input_ids=batch.ids, position_ids=batch.positions, attention_mask=mask
            ).logits
        packed = logits[batch.rows, batch.ends, 0].tolist()
        alone = [naive(model, sequences[member]) for member in batch.members]
        assert packed == pytest.approx(alone, abs=1e-12)


def test_children_of_a_state_share_its_tokens() -> None:
    prefix = tuple(range(300))
    children = [(*prefix, 1000 + k, 7) for k in range(6)]
    [one] = pack(children, 10_000)
    assert one.tokens == 300 + 6 * 2
    [one] = pack(children, 10_000, [300] * 6)
    assert (one.past, one.tokens) == (prefix, 6 * 2)


def test_steps_of_a_trajectory_and_states_of_a_search_are_computed_once() -> None:
    a, b = tuple(range(10)), (*range(9), 77, 78)
    [one] = pack([a[:4], a[:7], a, b], 100)
    assert one.tokens == 10 + 2
    batch = collate([one])
    assert batch.ids.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 77, 78]]
    assert batch.positions.tolist() == [[*range(10), 9, 10]]
    assert batch.ends.tolist() == [3, 6, 9, 11]
    seen = batch.mask[0, 0, 11].nonzero()[:, 0].tolist()
    assert seen == [*range(9), 10, 11]  # all of b, nothing of a


def test_a_pack_without_others_of_its_kind_is_an_ordinary_causal_sequence() -> None:
    [one] = pack([(5, 6, 7)], 2)
    assert one == Pack(((5, 6, 7),), (0,), 0, 3)
    assert torch.equal(collate([one]).mask[0, 0], torch.ones(3, 3, dtype=torch.bool).tril())


def test_what_is_at_hand_comes_before_the_columns_of_the_batch() -> None:
    packs = pack([(1, 2, 3, 4), (1, 2, 3, 5), (8, 9)], 10, [3, 3, 1])
    batch = collate(packs)
    assert batch.past == 3
    by_member = dict(zip(batch.members, zip(batch.rows, batch.ends, strict=True), strict=True))
    row, end = by_member[1]
    assert batch.mask[row, 0, end].tolist() == [True, True, True, False, True]
    row, end = by_member[2]  # one token at hand, padded to three
    assert batch.mask[row, 0, end].tolist() == [True, False, False, True, False]
    assert batch.positions[row, end] == 1
