from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qstar_core.evaluation.costs import costs, total

FIGURES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={"tokens": st.integers(0, 10**9), "seconds": st.floats(0, 1e6), "note": st.text()},
    )
)


@given(st.lists(FIGURES, max_size=4), st.none() | st.floats(0, 100))
def test_sums_are_those_of_the_shards(
    stages: list[list[dict[str, float]]], price: float | None
) -> None:
    manifests = [
        (str(k), {"shards": [{"figures": f} for f in each]}) for k, each in enumerate(stages)
    ]
    rows = costs(manifests, price)
    known = [f["tokens"] for each in stages for f in each if "tokens" in f]
    assert total(rows)["tokens"] == (sum(known) if known else None)
    for row in rows:
        assert (row["price"] is None) == (price is None or row["tokens"] is None)


def test_a_stage_that_counts_nothing_has_dashes() -> None:
    [row] = costs([("problems", {"rows": 3, "shards": [{"figures": {}}]})], 2.0)
    assert row == {
        "stage": "problems", "rows": 3, "shards": 1, "tokens": None, "seconds": None, "price": None
    }  # fmt: skip
    assert total([]) == {"tokens": None, "seconds": None, "price": None}
