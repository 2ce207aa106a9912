from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.grading import arithmetic, numeric
from tests.data import gsm8k


@pytest.mark.parametrize(
    "line",
    [
        "48/2 = <<48/2=24>>24 clips",
        "48 + 24=72.",
        "100 - 50 - 30 - 15 = $5 more",
        "2 + 3 * 4 = 14",
        "0.2 x 50 = $<<0.2*50=10>>10.",
        "$1,000 * 2 = $2,000",
        "6 \u00f7 4 = 1.5",
        "3 \u00d7 4 = 12",
        "10 / 3 = 3.33",
        "2 / 3 = 0.66 or 2/3 = 0.67",
        "20% * 50 = 10",
        "1/4 = 25% and 1/4 = 0.25",
        "100% - 80% = 20 % of them",
        "5 - 8 = -3",
        "120 \u2013 80 - 15 = 25",
        "(3 + 4 = 7) and 7 - 2 = 5",
        "She has 5 apples.",
        "5 + 3 = 8 + 2 = 10",
        "x = 5 + 3 = 8",
    ],
)
def test_right_lines(line: str) -> None:
    assert arithmetic.right(line)


@pytest.mark.parametrize(
    "line",
    [
        "48/2 = 25 clips",
        "2 + 3 * 4 = 20",
        "3 + 4 = 7, then 7 * 2 = 15",
        "10 / 3 = 3.35",
        "10 / 3 = 3",
        "1/4 = 26%",
        "5 - 8 = 3",
        "5 / 0 = 0",
        "$5 + $3 = $9",
    ],
)
def test_wrong_lines(line: str) -> None:
    assert not arithmetic.right(line)


@pytest.mark.parametrize(
    "line",
    [
        "2x = 10",
        "2 * (3 + 4) = 14",
        "(2 + 3) * 4 = 21",
        "n - 3 + 5 = 9",
        "5 + 3 apples = 9",
        "1 1/2 + 2 = 4",
        "3 / 2 = 1 1/2",
        "$350 000 * 2 = $1",
        "(1/2) 278 + 11 = 150",
        "v1.5 + 3 = 9",
        "3 * 4 = 13cm",
        "1 = 2",
        "+".join(["1"] * 60) + " = 3",
    ],
)
def test_what_is_not_written_out_is_not_judged(line: str) -> None:
    assert list(arithmetic.equations(line)) == []
    assert arithmetic.right(line)


@given(st.lists(st.integers(0, 999), min_size=2, max_size=8), st.data(), st.integers(-5, 5))
def test_chains_are_as_python_says(numbers: list[int], data: st.DataObject, off: int) -> None:
    operators = [data.draw(st.sampled_from("+-*")) for _ in numbers[1:]]
    chain = str(numbers[0]) + "".join(
        f" {o} {n}" for o, n in zip(operators, numbers[1:], strict=True)
    )
    assert arithmetic.right(f"so {chain} = {eval(chain) + off} in all") == (off == 0)


@given(st.text(alphabet="0123456789+-*/x=%$., \n"))
def test_any_line_has_a_verdict(line: str) -> None:
    assert arithmetic.right(line) in (True, False)


def test_nearly_all_lines_of_the_data_set_are_right() -> None:
    """What is left are other units (``$1 / 2 = 50 cents``) and slips of the authors."""
    lines = [line for row in gsm8k("test") for line in row["answer"].splitlines()]
    judged = [line for line in lines if list(arithmetic.equations(numeric.plain(line)))]
    assert len(judged) > len(lines) / 2
    assert sum(not arithmetic.right(line) for line in judged) < 0.002 * len(judged)
