from __future__ import annotations

from typing import Any

import pytest

from qstar_core.audit.page import render
from tests.evaluation.examples import HOSTILE
from tests.evaluation.test_report import Outline

OWN = {"step": 1, "n": 4, "good": 3, "missed": 1, "wrong": 0, "bias": -0.25, "mse": 0.25}


def found(**more: Any) -> dict[str, Any]:
    """What an audit finds, with model text that would do harm."""
    figures = {"groups": 4, "rows": 8, "share": 1.0, "mse_shared": 0.1, "tokens": 20.0}
    curve = [
        {"method": "best_of_rollouts", "n": n, "bias": -0.2 / n, "mse": 0.2 / n, **figures}
        | {"bias2": 0.1 / n, "variance": 0.1 / n}
        for n in (1, 2, 4)
    ]
    curve[-1] |= {"mse_shared": None, "bias2": None, "variance": None}
    pool = {"method": "mcts_pool", "note": "needs a pool: pools: [{name: mcts, kind: mcts}]"}
    return {
        "uri": "out/labels/key",
        "key": "0123456789ab",
        "method": "best_of_rollouts",
        "gamma": 1.0,
        "rows": 8,
        "missing": [],
        "steps": [{"step": 1, "n": 4, "positive": 1, "histogram": [3, *[0] * 8, 1]}],
        "conflicts": {
            "actions": 5,
            "conflicting": 1,
            "rows": 2,
            "examples": [
                {"problem_id": "p", "step": 1, "action": HOSTILE, "low": 0.0, "high": 1.0}
            ],
        },
        "duplicates": {"questions": 1, "problems": 2, "examples": [{"prompt": HOSTILE, "n": 2}]},
        "leakage": {
            "train": 3,
            "test": 2,
            "same": 1,
            "same_examples": [HOSTILE],
            "near": 1,
            "near_examples": [{"train": HOSTILE, "test": HOSTILE, "jaccard": 0.9}],
            "threshold": 0.8,
        },
        "format_errors": {
            "negatives": 3,
            "lenient": 1,
            "steps": 2,
            "examples": [{"prompt": HOSTILE, "text": HOSTILE}],
        },
        "imported": False,
        "own": {"problems": 2, "steps": [OWN]},
        "truth": {"problems": 2, "gamma": 1.0, "rows": [*curve, pool]},
        "warnings": [{"what": HOSTILE, "next": "qstar run CONFIG"}],
        **more,
    }


@pytest.fixture(scope="module")
def page() -> str:
    return render(found())


def test_the_page_is_well_formed_and_nothing_runs_or_is_fetched(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"] for tag, attrs in outline.tags if tag == "a"} <= {f"#{i}" for i in ids}
    for tag, attrs in outline.tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "base"}
        assert "src" not in attrs and not any(name.startswith("on") for name in attrs)
    [policy] = [attrs["content"] for _, attrs in outline.tags if "http-equiv" in attrs]
    assert policy is not None and "script-src 'none'" in policy


def test_all_figures_are_there(page: str) -> None:
    assert page.count("<svg") == 1 + 3 * 2  # a histogram, three charts in two sizes
    for text in ("25.0 %", "mcts pool", "needs a pool", "mean squared error"):
        assert text.lower() in page.lower()
    assert "\N{MINUS SIGN}0.2500" in page and 'href="#own"' in page
    assert "0.2000" in page and "1 of 5 distinct actions" in page


def test_labels_without_inputs_have_a_page(page: str) -> None:
    nothing = dict.fromkeys(("duplicates", "leakage", "format_errors", "own", "truth"))
    bare = render(found(**nothing, warnings=[]))
    assert Outline(bare).open == []
    assert "Nothing was found against these labels" in bare and "#own" not in bare
    assert bare.count("<svg") == 1
