from __future__ import annotations

from typing import Any

import pytest

from flows.remarks import doubts, remarks

QUIET: dict[str, Any] = {
    "problems": {"figures": {"train": 2000, "test": 500}},
    "qvm": {"figures": {"heldout": [{"step": "first", "auc_truth": 0.71, "auc_label": 0.5}]}},
}


def test_problems_without_a_solution_are_said_where_they_are_known() -> None:
    known = {"problems": {"figures": {"train": 2000, "test": 1820, "unsolvable": 458}}}
    assert doubts(known) == [
        "458 of 1,820 test problems have no solution; they count as unsolved, whatever the method."
    ]


@pytest.mark.parametrize("manifests", [QUIET, {}, {"qvm": {"figures": {}}}])
def test_nothing_is_said_where_there_is_nothing_to_say(manifests: Any) -> None:
    assert doubts(manifests) == []


def test_a_value_model_at_chance_is_said() -> None:
    first = {"step": "first", "auc_truth": 0.532, "auc_label": 0.9}
    final = {"step": "final", "auc_truth": None, "auc_label": 0.91}
    assert doubts({"qvm": {"figures": {"heldout": [first, final]}}}) == [
        "The Q-value model ranks steps no better than chance: held-out AUC first (0.53)."
    ]


def test_what_to_know_of_a_fine_tuned_policy() -> None:
    figures = {"too_long": 3, "heldout_loss_before": 0.5, "heldout_loss": 0.6}
    long, loss = remarks({"figures": figures, "uri": "x"})
    assert long == "3 solutions are longer than sft.max_length and left out"
    assert "did not fall (0.5000 before, 0.6000 after)" in loss
    fine = {"too_long": 0, "heldout_loss_before": 0.5, "heldout_loss": 0.4}
    assert remarks({"figures": fine, "uri": "x"}) == []
    assert remarks({"figures": {**fine, "heldout_loss": None}, "uri": "x"}) == []


def test_rows_that_were_left_out_are_counted() -> None:
    rows = {"rows": 3, "named": [{"row": 7, "reason": "field 'answer' is missing"}]}
    assert remarks({"figures": {"train": 5, "malformed_train": rows}, "uri": "x"}) == [
        "rows of domain.train_file that are left out: 3, for example row 7: field 'answer' is "
        "missing"
    ]
