from __future__ import annotations

from itertools import product

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.errors import UserError
from qstar_core.evaluation.results import COLUMNS, Wanted, results

METHODS = ("greedy", "best-of-N", "A*")
TABLE = {"p1": (0, 0, 1), "p2": (0, 1, 0), "p3": (1, 1, 1), "p4": (0, 0, 0), "p5": (1, 0, 1)}


def searches(solved: dict[str, tuple[int, ...]]) -> pl.LazyFrame:
    rows = [
        {
            **dict.fromkeys(COLUMNS, ""),
            "problem_id": problem,
            "prompt": f"text of {problem}\n",
            "method": method,
            "outcome": "correct" if flag else "wrong",
            "policy_tokens": 7,
            "nodes": [],
        }
        for problem, flags in solved.items()
        for method, flag in zip(METHODS, flags, strict=True)
    ]
    return pl.DataFrame(rows).lazy()


def problems(wanted: Wanted, solved: dict[str, tuple[int, ...]] = TABLE) -> list[str]:
    return results(searches(solved), wanted)["problem_id"].unique(maintain_order=True).to_list()


def test_without_filters_all_rows_come_in_order_without_trees() -> None:
    found = results(searches(TABLE), Wanted())
    assert found.columns == list(COLUMNS) and len(found) == 15
    assert found["problem_id"].unique(maintain_order=True).to_list() == list(TABLE)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(only="A*"), ["p1"]),
        (Wanted(only="A*", lost="best-of-N"), ["p1", "p5"]),
        (Wanted(lost="A*"), ["p2"]),
        (Wanted(lost="best-of-N"), ["p1", "p5"]),
        (Wanted(problem="p3"), ["p3"]),
        (Wanted(problem="of p4"), ["p4"]),
        (Wanted(methods=["A*"], outcomes=["wrong"]), ["p2", "p4"]),
        (Wanted(problem="nowhere"), []),
    ],
)
def test_filters(wanted: Wanted, expected: list[str]) -> None:
    assert problems(wanted) == expected


@given(st.lists(st.sampled_from(list(product((0, 1), repeat=3))), min_size=1, max_size=12))
def test_won_and_lost_are_what_they_say(flags: list[tuple[int, ...]]) -> None:
    table = {f"p{k}": each for k, each in enumerate(flags)}
    won = {p for p, (_, b, a) in table.items() if a and not b}
    assert set(problems(Wanted(only="A*", lost="best-of-N"), table)) == won
    alone = {p for p, (g, b, a) in table.items() if a and not b and not g}
    assert set(problems(Wanted(only="A*"), table)) == alone
    lost = {p for p, (g, b, a) in table.items() if not a and (b or g)}
    assert set(problems(Wanted(lost="A*"), table)) == lost


def test_unknown_names_are_refused_with_those_that_there_are() -> None:
    for wanted in (Wanted(methods=["B*"]), Wanted(only="B*"), Wanted(lost="B*")):
        with pytest.raises(UserError, match=r"no method 'B\*'") as error:
            results(searches(TABLE), wanted)
        assert error.value.next_step == "one of: greedy, best-of-N, A*"
    with pytest.raises(UserError, match="no outcome 'right'") as error:
        results(searches(TABLE), Wanted(outcomes=["right"]))
    assert "correct" in error.value.next_step
