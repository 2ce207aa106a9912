from __future__ import annotations

import pytest

from qstar_core.search.scorers import Group, Scorers, fault
from tests.search.trees import EXAMPLE, TableValue, make_problem


def test_groups_of_actions_are_scored_with_one_call_to_each_model() -> None:
    value, prm = (TableValue((make_problem(), EXAMPLE)) for _ in range(2))
    groups: list[Group] = [
        ("q", [("q\na\n", False), ("q\nc", True)]),
        ("prm", [("q\nb\n", False)]),
        ("q", []),
        ("q", [("q\nb\n", False)]),
    ]
    assert Scorers(value, prm).values(groups) == [[0.5, 0.75], [1.0], [], [1.0]]
    assert (value.calls, prm.calls) == (1, 1)


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ValueError, match="asks for Q and there is no such model"):
        Scorers(None).values([("q", [("q\na\n", False)])])
    with pytest.raises(ValueError, match="R_P of the process reward model"):
        Scorers(None).values([("prm", [("q\na\n", False)])])


def test_values_lie_between_0_and_1() -> None:
    assert fault("q", [0.0, 1.0]) is None
    assert "Q must be in" in str(fault("q", [0.5, 1.5]))
    assert "R_P" in str(fault("prm", [float("nan")]))
