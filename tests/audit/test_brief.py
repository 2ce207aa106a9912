from __future__ import annotations

from pathlib import Path

from qstar_core.audit.brief import brief, label_audit
from qstar_core.audit.run import audit
from qstar_core.domains import countdown
from tests.audit.examples import BAD, END, GOOD, LOSE, PROBLEM, WIN, write_run

PLAYS = {PROBLEM: [[GOOD, WIN], [BAD, END], [GOOD, LOSE], [GOOD, WIN]]}
OTHER = [countdown.make_problem([2, 3, 4], 9)]


def test_it_says_what_the_whole_audit_says_of_the_labels(tmp_path: Path) -> None:
    uri = write_run(tmp_path, PLAYS, test=OTHER)
    short, whole = brief(uri), audit(uri)
    assert set(short) == set(whole)
    for name in ("method", "gamma", "rows", "steps", "conflicts", "own", "missing"):
        assert short[name] == whole[name]
    assert short["truth"] is None and short["leakage"] is None
    assert [each for each in whole["warnings"] if each in short["warnings"]] == short["warnings"]


def test_labels_that_are_gone_cost_no_report(tmp_path: Path) -> None:
    assert label_audit([{"stage": "labels", "key": "0" * 24, "rows": 1}], str(tmp_path)) is None
    assert label_audit([{"stage": "problems", "key": "0" * 24, "rows": 1}], str(tmp_path)) is None
    uri = write_run(tmp_path, PLAYS)
    out, _, key = uri.rsplit("/", 2)
    found = label_audit([{"stage": "labels", "key": key, "rows": 1}], out)
    assert found is not None and found["steps"]
