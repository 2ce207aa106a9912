from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from flows.tables import figures_tables
from qstar_core import jobs
from qstar_core.config import RunConfig
from qstar_core.evaluation.compare import paired
from qstar_core.evaluation.metrics import holm
from qstar_core.evaluation.rounds import FIRST, TABLE, compare_rounds
from qstar_core.store import dataset
from tests.audit.examples import write

METHODS = ("greedy", "A*")
FLAGS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


def searches(solved: dict[str, list[bool]]) -> pl.DataFrame:
    """Searches of each method over the same problems."""
    rows = [
        {
            "problem_id": f"p{k}",
            "method": method,
            "algorithm": method,
            "outcome": "correct" if right else "wrong",
            "policy_tokens": 10 * k,
            "value_calls": k,
            "expansions": k,
        }
        for method, flags in solved.items()
        for k, right in enumerate(flags)
    ]
    return pl.DataFrame(rows)


def both(flags: list[Any], place: int) -> pl.DataFrame:
    column = [pair[place] for pair in flags]
    return searches(dict.fromkeys(METHODS, column))


@given(FLAGS)
def test_later_rounds_are_compared_with_the_first_by_problem(flags: list[Any]) -> None:
    one, two = both(flags, 0), both(flags, 1)
    rows = compare_rounds([one, two], seed=3, resamples=50)
    assert [(row["method"], row["round"]) for row in rows] == [
        (m, r) for m in METHODS for r in (1, 2)
    ]
    for first, later in zip(rows[::2], rows[1::2], strict=True):
        assert (first["verdict"], first["difference"]) == (FIRST, None)
        parts = [each.filter(pl.col("method") == later["method"]) for each in (two, one)]
        expected = paired(*parts, 3, 50)
        assert later["difference"] == pytest.approx(later["accuracy"] - first["accuracy"])
        assert later["difference_low"] == expected["difference_low"]
        assert later["p_value"] == pytest.approx(holm([expected["p_value"]] * 2)[0])
    pa.Table.from_pylist(rows, schema=TABLE)


@pytest.mark.parametrize(("won", "said"), [(12, "better"), (3, "not significant"), (-12, "worse")])
def test_the_verdict_goes_by_the_adjusted_p(won: int, said: str) -> None:
    few = [[k < abs(won) for k in range(40)], [False] * 40]
    one, two = few if won < 0 else few[::-1]
    rows = compare_rounds([searches({"a": one}), searches({"a": two})], resamples=200)
    assert rows[1]["verdict"] == said


def test_many_methods_need_a_smaller_p() -> None:
    """Seven problems won and one lost: p is 0.07; six won, none lost: 0.031 alone, not among 4."""
    one = {str(k): [False] * 30 for k in range(4)}
    two = {str(k): [j < (6 if k == 0 else 0) for j in range(30)] for k in range(4)}
    rows = compare_rounds([searches(one), searches(two)], resamples=100)
    assert rows[1]["p_value"] == pytest.approx(4 * 2 / 2**6)
    assert rows[1]["verdict"] == "not significant"
    alone = compare_rounds([searches({"0": one["0"]}), searches({"0": two["0"]})], resamples=100)
    assert alone[1]["verdict"] == "better"


def test_the_stage_writes_the_table_and_shows_it(tmp_path: Path) -> None:
    config = RunConfig(out=str(tmp_path))
    inputs = {}
    for number, flags in enumerate(([False] * 9, [True] * 9, [True] * 9), 1):
        name = "evaluation" if number == 1 else f"evaluation_{number}"
        table = searches({"greedy": flags}).to_arrow()
        inputs[name] = write(tmp_path / str(number), name, {"all": table}, config)
    spec = {"stage": "rounds", "uri": str(tmp_path / "rounds" / "k"), "shard": "table"}
    receipt = jobs.rounds({**spec, "inputs": inputs}, config, lambda *_: None)
    rows = receipt["figures"]["rounds"]
    assert [row["accuracy"] for row in rows] == [0.0, 1.0, 1.0]
    file = tmp_path / "rounds" / "k" / "rounds.parquet"
    assert pl.read_parquet(file)["round"].to_list() == [1, 2, 3]
    assert receipt["rows"] == 3
    dataset.publish(spec["uri"], {"key": "k"}, [receipt])

    console = Console(width=120, record=True, file=StringIO())
    for shown in figures_tables(receipt["figures"], "rounds"):
        console.print(shown)
    text = console.export_text()
    assert "Rounds of expert iteration on 9 held-out problems" in text
    assert "+100.0" in text and "better" in text
