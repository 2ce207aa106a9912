from __future__ import annotations

from flows.remarks import unsolvable


def test_problems_without_a_solution_are_said_where_they_are_known() -> None:
    known = {"figures": {"train": 2000, "test": 1820, "unsolvable": 458}}
    assert unsolvable(known) == [
        "458 of 1,820 test problems have no solution; they count as unsolved, whatever the method."
    ]
    assert unsolvable({"figures": {"train": 2000, "test": 500}}) == []
    assert unsolvable({}) == []
