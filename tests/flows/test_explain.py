from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from flows import explain
from qstar_core.errors import UserError
from qstar_core.store import dataset, open_store


def node(number: int, parent: int, text: str, **fields: object) -> dict[str, object]:
    empty = {"q": None, "reward": None, "g": 0.0, "h": None, "f": None, "order": -1}
    flags = {"tokens": 0, "terminal": False, "chosen": False}
    return {"node": number, "parent": parent, "text": text, **empty, **flags, **fields}


NODES = [
    node(0, -1, "3 2 > 6\n", order=0, chosen=True),
    node(
        1, 0, "3 * 2 = 6 | 6 > 6", q=0.9, g=1.0, h=0.9, f=1.9, order=1, terminal=True, chosen=True
    ),
    node(2, 0, "3 + 2 = 5\n", q=0.1, g=1.0, h=0.1, f=1.1, order=2),
    *(node(3 + k, 2, f"[{k}]", q=0.0, g=1.0, h=0.0, f=1.0 - k / 10) for k in range(6)),
]


@pytest.fixture
def searches(tmp_path: Path) -> str:
    """A published evaluation of two problems and two methods."""
    uri = str(tmp_path / "evaluation" / "k")
    rows = [
        {
            "problem_id": f"{letter}{'0' * 23}",
            "prompt": f"{prompt}\n",
            "method": method,
            "outcome": "correct",
            "answer": "6",
            "reason": "",
            "policy_tokens": 12,
            "value_calls": 3,
            "expansions": 2,
            "stop_reason": "finished",
            "nodes": NODES if method == "A*" else [],
        }
        for letter, prompt in (("a", "3 2 > 6"), ("b", "3 3 > 6"))
        for method in ("greedy", "A*")
    ]
    file = open_store(uri).scratch() / "part.parquet"
    dataset.write_table(file, pa.Table.from_pylist(rows))
    receipt = dataset.finish_shard(uri, "s", [file], {})
    dataset.publish(uri, {"kind": "evaluation", "uri": uri, "figures": {}}, [receipt])
    return uri


@pytest.fixture
def comparison(searches: str, tmp_path: Path) -> str:
    """The same at two budgets."""
    rows = explain.scan(searches).collect().to_dicts()
    uri = str(tmp_path / "comparison" / "k")
    file = open_store(uri).scratch() / "part.parquet"
    swept = [{**row, "budget": b, "policy_tokens": int(b)} for b in (100.0, 200.0) for row in rows]
    dataset.write_table(file, pa.Table.from_pylist(swept))
    receipt = dataset.finish_shard(uri, "s", [file], {})
    dataset.publish(uri, {"kind": "comparison", "uri": uri, "figures": {}}, [receipt])
    return uri


def shown(row: dict[str, object], everything: bool = False) -> str:
    out = io.StringIO()
    explain.show(Console(file=out, width=120), row, everything)
    return out.getvalue()


@pytest.mark.parametrize("asked", ["1", "a00", "3 2 > 6", "2 >"])
def test_problem_by_number_id_or_text(searches: str, asked: str) -> None:
    row = explain.find(searches, asked, None)
    assert (row["prompt"], row["method"]) == ("3 2 > 6\n", "A*")


def test_tree_in_the_order_of_f_with_the_numbers(searches: str) -> None:
    text = shown(explain.find(searches, "1", None))
    assert "Answer     6: correct" in text
    assert "12 policy tokens, 3 QVM calls, 2 expansions; ended: finished" in text
    assert "#1 3 * 2 = 6 | 6 > 6 *  f 1.900, g 1.000, h 0.900, q 0.900" in text
    assert text.index("#1 3 * 2") < text.index("#2 3 + 2") < text.index("[0]") < text.index("[3]")
    assert "[4]" not in text
    assert "2 more" in text
    assert "[5]" in shown(explain.find(searches, "1", None), everything=True)


def test_search_without_a_tree(searches: str) -> None:
    assert "no tree" in shown(explain.find(searches, "2", "greedy"))


@pytest.mark.parametrize(
    ("problem", "method", "what"),
    [
        ("9", None, "no problem fits '9'"),
        ("3", None, "2 problems fit '3': 3 2 > 6; 3 3 > 6"),
        ("1", "beam", "no method 'beam'"),
    ],
)
def test_what_is_not_there(searches: str, problem: str, method: str | None, what: str) -> None:
    with pytest.raises(UserError) as caught:
        explain.find(searches, problem, method)
    assert what in caught.value.what
    assert caught.value.next_step


def test_a_comparison_is_explained_at_one_budget(comparison: str) -> None:
    text = shown(explain.find(comparison, "1", None))
    assert "(A*, budget 200, problem a" in text and "200 policy tokens" in text
    assert "(greedy, budget 100, " in shown(explain.find(comparison, "1", "greedy", 100.0))


def test_a_budget_that_is_not_there(comparison: str, searches: str) -> None:
    with pytest.raises(UserError, match="no budget 300") as caught:
        explain.find(comparison, "1", None, 300.0)
    assert caught.value.next_step == "one of: 100, 200"
    with pytest.raises(UserError, match="one budget only"):
        explain.find(searches, "1", None, 100.0)
