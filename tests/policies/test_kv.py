from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache

from qstar_core.policies import kv
from qstar_core.policies.kv import roomy_cache

APPEND = st.tuples(st.just("append"), st.integers(1, 5))
SELECT = st.tuples(st.just("select"), st.integers(0, 99))


@given(steps=st.lists(APPEND | SELECT, min_size=1, max_size=12), room=st.integers(1, 6))
def test_it_holds_what_the_copying_cache_holds(steps: list[tuple[str, int]], room: int) -> None:
    generator = torch.Generator().manual_seed(0)
    roomy, plain, samples = roomy_cache(), DynamicCache(), 3
    kept, kv.ROOM_TOKENS = kv.ROOM_TOKENS, room
    try:
        for what, number in [("append", 2), *steps]:
            if what == "append":
                for layer in range(2):
                    keys, values = torch.randn(2, samples, 2, number, 4, generator=generator)
                    found = roomy.update(keys, values, layer)
                    expected = plain.update(keys.clone(), values.clone(), layer)
                    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
            else:
                index = torch.randint(samples, (number % 4 + 1,), generator=generator)
                roomy.batch_select_indices(index)
                plain.batch_select_indices(index)
                samples = len(index)
            assert roomy.get_seq_length() == plain.get_seq_length()
    finally:
        kv.ROOM_TOKENS = kept


def test_a_token_more_does_not_move_what_is_there() -> None:
    cache = roomy_cache()
    first, _ = cache.update(torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4), 0)
    second, _ = cache.update(torch.ones(2, 1, 1, 4), torch.ones(2, 1, 1, 4), 0)
    assert first.data_ptr() == second.data_ptr() and second.shape[2] == 4
