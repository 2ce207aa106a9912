from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForTokenClassification, LlamaConfig, PreTrainedModel

from qstar_core.policies.transformers import alike
from qstar_core.values.packing import MIN_SHARED, Pack, Tokens, collate, pack
from qstar_core.values.score import in_batches

SEQUENCES = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=12).map(tuple),
    min_size=1,
    max_size=20,
    unique=True,
)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=1,
    )
    made: PreTrainedModel = AutoModelForTokenClassification.from_config(config).double().eval()
    return made


@given(sequences=SEQUENCES, max_tokens=st.integers(1, 60))
def test_every_sequence_is_in_one_pack(sequences: list[Tokens], max_tokens: int) -> None:
    packs = pack(sequences, max_tokens)
    assert sorted(k for one in packs for k in one.members) == list(range(len(sequences)))
    for one in packs:
        assert [one.prefix + rest for rest in one.rests] == [sequences[k] for k in one.members]
        assert all(one.rests)
        assert len(one.members) == 1 or one.tokens <= max_tokens
        longest = max(len(sequences[k]) for k in one.members)
        assert len(one.members) == 1 or len(one.prefix) >= MIN_SHARED * longest


@settings(max_examples=30, deadline=None)
@given(sequences=SEQUENCES)
def test_values_are_those_of_the_sequences_by_themselves(
    model: PreTrainedModel, sequences: list[Tokens]
) -> None:
    batch = collate(pack(sequences, 100))
    hidden = torch.full(batch.mask.shape, torch.finfo(torch.float64).min, dtype=torch.float64)
    mask = hidden.masked_fill(batch.mask, 0.0)
    with torch.inference_mode():
        logits = model(
            input_ids=batch.ids, position_ids=batch.positions, attention_mask=mask
        ).logits
        packed = logits[batch.rows, batch.ends, 0]
        for value, member in zip(packed, batch.members, strict=True):
            alone = model(input_ids=torch.tensor([sequences[member]])).logits[0, -1, 0]
            assert abs(float(value - alone)) < 1e-12


def test_children_of_a_state_share_its_tokens() -> None:
    prefix = tuple(range(300))
    children = [(*prefix, 1000 + k, 7) for k in range(6)]
    [one] = pack(children, 10_000)
    assert one.prefix == prefix
    assert one.tokens == 300 + 6 * 2


@given(lengths=st.lists(st.integers(1, 2000), min_size=1, max_size=30), most=st.integers(1, 8))
def test_packs_of_a_batch_are_alike_in_length(lengths: list[int], most: int) -> None:
    packs = [Pack((), ((0,) * length,), (k,)) for k, length in enumerate(sorted(lengths))]
    batches = list(in_batches(packs, most))
    assert [one for batch in batches for one in batch] == packs
    for batch in batches:
        assert len(batch) <= most
        assert alike(batch[0].tokens, batch[-1].tokens)
    for batch, following in pairwise(batches):
        full = len(batch) == most
        assert full or not alike(batch[0].tokens, following[0].tokens)
