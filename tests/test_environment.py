from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from qstar_core import environment
from qstar_core.environment import as_mapping, describe, machine, merge

ONE = {"python": "3.11.7", "threads": 1}
TWO = {"python": "3.11.7", "threads": 2}


def test_interpreter_and_packages_are_said() -> None:
    found = describe()
    assert found["interpreter"] == sys.executable
    assert found["python"] == platform.python_version()
    assert {"torch", "polars"} <= found["packages"].keys()


def test_a_machine_is_its_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine()
    assert found["cpu"] and found["cores"] >= 1
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast 9000\ncpu MHz\t: 2100.3\n")
    for number in range(2):
        (tmp_path / f"0000:0{number}").mkdir()
        (tmp_path / f"0000:0{number}" / "information").write_text("Model: \t H200\nIRQ: 7\n")
    monkeypatch.setattr(environment, "CPUINFO", cpuinfo)
    monkeypatch.setattr(environment, "GPUS", tmp_path)
    described = machine.__wrapped__()
    assert (described["cpu"], described["gpus"]) == ("Fast 9000", ["H200", "H200"])
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "none")
    assert machine.__wrapped__()["cpu"]


def test_what_all_shards_agree_on_is_said_once() -> None:
    assert merge([ONE, dict(ONE)]) == ONE
    assert merge([ONE, TWO, ONE]) == [ONE, TWO]


def test_several_are_shown_under_their_numbers() -> None:
    assert as_mapping(ONE) == ONE
    assert as_mapping([ONE, TWO]) == {"1": ONE, "2": TWO}
