from __future__ import annotations

import platform
import sys

from qstar_core.environment import as_mapping, describe, merge

ONE = {"python": "3.11.7", "threads": 1}
TWO = {"python": "3.11.7", "threads": 2}


def test_interpreter_and_packages_are_said() -> None:
    found = describe()
    assert found["interpreter"] == sys.executable
    assert found["python"] == platform.python_version()
    assert {"torch", "polars"} <= found["packages"].keys()


def test_what_all_shards_agree_on_is_said_once() -> None:
    assert merge([ONE, dict(ONE)]) == ONE
    assert merge([ONE, TWO, ONE]) == [ONE, TWO]


def test_several_are_shown_under_their_numbers() -> None:
    assert as_mapping(ONE) == ONE
    assert as_mapping([ONE, TWO]) == {"1": ONE, "2": TWO}
