from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qstar_core.policies.batching import SLACK_TOKENS, alike, in_batches

LENGTHS = st.lists(st.integers(1, 2000), max_size=30).map(sorted)


@given(lengths=LENGTHS, most=st.integers(1, 8), size=st.integers(1, 3), count=st.integers(1, 5))
def test_batches_hold_all_items_in_order_within_the_limits(
    lengths: list[int], most: int, size: int, count: int
) -> None:
    batches = list(
        in_batches(lengths, int, most, lambda item: size, lambda there, item: there <= count)
    )
    assert [item for batch in batches for item in batch] == lengths
    for batch in batches:
        assert len(batch) == 1 or (len(batch) * size <= most and len(batch) <= count)
        assert alike(batch[0], batch[-1])


def test_a_batch_goes_on_while_items_fit() -> None:
    long = 2 * 10 + SLACK_TOKENS
    assert list(in_batches([10, 10, long, long + 1], int, 8)) == [[10, 10, long], [long + 1]]
    assert list(in_batches([1, 1, 1], int, 2)) == [[1, 1], [1]]
    assert list(in_batches([], int, 2)) == []
