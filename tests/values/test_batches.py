from __future__ import annotations

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForTokenClassification

from qstar_core.values.batches import collate, lay_out
from qstar_core.values.data import Sequences
from qstar_core.values.model import step_logits

from .families import FAMILIES, small

LENGTHS = (5, 17, 9, 30, 2, 12, 8)


def made_up(lengths: tuple[int, ...] = LENGTHS) -> Sequences:
    """Trajectories of random tokens with two steps each, the last at the end."""
    torch.manual_seed(0)
    ids = [torch.randint(2, 60, (n,)).tolist() for n in lengths]
    y = [[0.5, float(k % 2)] for k in range(len(lengths))]
    frame = pl.DataFrame({"problem_id": [f"p{k // 3}" for k in range(len(lengths))], "y": y})
    ends = [[(n - 1) // 2, n - 1] for n in lengths]
    return Sequences(ids, ends, y, [[1.0, 2.0]] * len(lengths), frame)


def tiny(family: str, attention: str) -> torch.nn.Module:
    config = small(family, num_labels=1)
    model = AutoModelForTokenClassification.from_config(config, attn_implementation=attention)
    return model.eval()  # type: ignore[no-any-return]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_trajectories_do_not_see_each_other(family: str, attention: str) -> None:
    model, data = tiny(family, attention), made_up()
    places = range(len(data))
    alone = torch.cat([step_logits(model, collate(data, [p])) for p in places])
    packed = collate(data, places, pack_tokens=40)
    assert len(packed["input_ids"]) < len(data)
    torch.testing.assert_close(step_logits(model, packed), alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(step_logits(model, collate(data, places)), alone, atol=1e-5, rtol=0)


def test_a_padded_batch() -> None:
    data = made_up((3, 5))
    batch = collate(data, [1, 0])
    assert batch["input_ids"].tolist() == [data.ids[1], [*data.ids[0], 0, 0]]
    assert "position_ids" not in batch and "better" not in batch
    assert batch["rows"].tolist() == [0, 0, 1, 1] and batch["ends"].tolist() == [2, 4, 1, 2]
    assert batch["targets"].tolist() == [0.5, 1.0, 0.5, 0.0]
    assert batch["weights"].tolist() == [1.0, 2.0, 1.0, 2.0]
    assert float(batch["denominator"]) == 6.0 and int(batch["tokens"]) == 8


def test_a_packed_batch() -> None:
    data = made_up((3, 5, 4))
    batch = collate(data, [0, 1, 2], pack_tokens=8)
    assert batch["input_ids"].tolist() == [[*data.ids[1], *data.ids[0]], [*data.ids[2], 0, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2], [0, 1, 2, 3, 0, 0, 0, 0]]
    assert batch["rows"].tolist() == [0, 0, 0, 0, 1, 1]
    assert batch["ends"].tolist() == [6, 7, 2, 4, 1, 3]


def test_pairs_are_steps_of_one_problem_and_index() -> None:
    batch = collate(made_up(), range(7), kind="ranking")  # labels of last steps: 0 1 0 | 1 0 1 | 0
    found = list(zip(batch["better"].tolist(), batch["worse"].tolist(), strict=True))
    assert found == [(3, 1), (3, 5), (7, 9), (11, 9)]
    assert float(batch["denominator"]) == 16.0


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(0, 64))
def test_no_two_sequences_share_a_place(lengths: list[int], room: int) -> None:
    rows, starts = lay_out(lengths, room)
    taken: set[tuple[int, int]] = set()
    for length, row, start in zip(lengths, rows, starts, strict=True):
        places = {(row, start + k) for k in range(length)}
        assert not places & taken
        taken |= places
        assert start + length <= max(room, length)
    assert set(rows) == set(range(max(rows) + 1))
    if room:
        full = sum(lengths) / room
        assert max(rows) + 1 <= 2 * full + 1 or max(lengths) > room
    else:
        assert rows == list(range(len(lengths)))
