from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from qstar_core.config import CountdownRanges, DomainConfig
from qstar_core.domains import countdown, countdown_problems
from qstar_core.errors import UserError


def test_splits_are_disjoint_and_do_not_depend_on_the_order_of_numbers() -> None:
    ranges = CountdownRanges()
    train = countdown_problems.generate("train", 50, ranges, seed=0)
    test = countdown_problems.generate("test", 50, ranges, seed=0)
    assert not {p.id for p in train} & {p.id for p in test}
    assert {p.split for p in train} == {"train"}
    assert countdown.split_of([1, 2, 3, 4], 24) == countdown.split_of([4, 2, 1, 3], 24)
    assert [p.id for p in countdown_problems.generate("train", 20, ranges, seed=0)] == [
        p.id for p in train[:20]
    ]
    assert countdown_problems.generate("train", 50, ranges, seed=1) != train


def test_generated_problems_are_solvable() -> None:
    for problem in countdown_problems.generate("test", 30, CountdownRanges(numbers=3), seed=3):
        assert countdown.solvable(*countdown.start(problem))


def test_too_narrow_ranges_are_the_users_error() -> None:
    ranges = CountdownRanges(numbers=2, min_number=1, max_number=2, min_target=3, max_target=4)
    with pytest.raises(UserError, match="only") as caught:
        countdown_problems.generate("train", 100, ranges, seed=0)
    assert "domain.ranges" in caught.value.next_step
    assert "domain.train_problems" in caught.value.next_step


def test_load_reads_a_users_file(tmp_path: Path) -> None:
    file = tmp_path / "puzzles.jsonl"
    row = '{"numbers": [4, 9, 10, 13], "target": 24}'
    file.write_text(f"{row}\n\n{row}\n" + '{"numbers": [1, 1, 1, 1], "target": 24}\n')
    found = countdown_problems.load(file)
    assert [p.prompt for p in found.problems] == ["13 10 9 4 > 24\n", "1 1 1 1 > 24\n"]
    assert found.repeated == 1


def write_rows(file: Path, targets: Sequence[int]) -> str:
    file.write_text("".join(f'{{"numbers": [1, 2, 3], "target": {t}}}\n' for t in targets))
    return str(file)


def test_a_file_is_used_as_a_whole_unless_a_count_is_given(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "p.jsonl", range(150))
    whole = DomainConfig(test_file=file)
    assert (
        len(countdown_problems.problems(whole, "test", seed=0))
        == countdown_problems.count(whole, "test")
        == 150
    )
    assert countdown_problems.notes(whole) == []
    some = DomainConfig(test_file=file, test_problems=100)
    first = countdown_problems.problems(some, "test", seed=0)
    assert [countdown.start(p)[1] for p in first] == list(range(100))
    assert countdown_problems.notes(some) == [
        f"domain.test_problems: first 100 of 150 rows of {file}"
    ]
    assert countdown_problems.count(DomainConfig(test_file=file, test_problems=900), "test") == 150


def test_repeated_rows_are_counted_aloud(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "p.jsonl", [5, 6, 5, 5])
    domain = DomainConfig(train_file=file)
    assert countdown_problems.count(domain, "train") == 2
    assert countdown_problems.notes(domain) == [f"{file}: 2 rows repeat an earlier one; used once"]


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("test", "train")])
def test_generated_problems_leave_out_the_other_splits_file(
    tmp_path: Path, split: str, other: str
) -> None:
    ranges = CountdownRanges(numbers=3)
    plain = countdown_problems.generate(split, 20, ranges, seed=0)
    file = tmp_path / "p.jsonl"
    file.write_text("".join(problem.reference + "\n" for problem in plain[5:10]))
    fields = {f"{other}_file": str(file), f"{split}_problems": 15, f"{other}_problems": 1}
    domain = DomainConfig(ranges=ranges, **fields)  # type: ignore[arg-type]
    assert countdown_problems.problems(domain, split, seed=0) == [*plain[:5], *plain[10:]]


def test_two_files_must_not_share_a_problem(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", [1, 2, 3, 4, 5])
    test = write_rows(tmp_path / "test.jsonl", [7, 8, 4, 2])
    with pytest.raises(UserError, match="same problem, 3 2 1 > 4") as caught:
        countdown_problems.check_disjoint(DomainConfig(train_file=train, test_file=test))
    assert f"{test}, row 3 and {train}, row 4" in caught.value.what
    assert f"remove row 4 of {train}" in caught.value.next_step
    apart = write_rows(tmp_path / "apart.jsonl", [7, 8])
    countdown_problems.check_disjoint(DomainConfig(train_file=train, test_file=apart))


def test_generated_problems_have_a_default_count() -> None:
    domain = DomainConfig(test_problems=3, ranges=CountdownRanges(numbers=3))
    assert countdown_problems.count(domain, "train") == 2000
    assert (
        len(countdown_problems.problems(domain, "test", seed=0))
        == countdown_problems.count(domain, "test")
        == 3
    )
    assert countdown_problems.notes(domain) == []


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"numbers": [4, 9], "target": 2.5}', "target must be an integer"),
        ('{"numbers": [4, 9], "target": "24"}', "target must be an integer"),
        ('{"numbers": [4, 9], "target": true}', "target must be an integer"),
        ('{"numbers": [4, "9"], "target": 24}', "numbers must be integers"),
        ('{"numbers": [4, -9], "target": 24}', "numbers must be in"),
        ('{"numbers": [4], "target": 24}', "2 to 6"),
        ('{"numbers": [4, 9], "target": 9999}', "target must be in"),
        ('{"numbers": [4, 9]}', "missing"),
        ('{"numbers": [4, 9], "target": 1, "goal": 2}', "unknown field"),
        ("[1, 2]", "not a JSON object"),
        ("{oops", "Expecting"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, row: str, says: str) -> None:
    file = tmp_path / "puzzles.jsonl"
    file.write_text('{"numbers": [4, 9], "target": 13}\n' + row + "\n")
    with pytest.raises(UserError) as caught:
        countdown_problems.load(file)
    assert "row 2" in caught.value.what
    assert says in caught.value.what
    assert caught.value.next_step


ROW = b'{"numbers": [4, 9], "target": 13}\n'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ": no problem in it"),
        (b"\n \r\n", ": no problem in it"),
        (b"\xef\xbb\xbf" + ROW, ", row 1, byte 1: the file begins with a byte order mark"),
        (ROW.decode().encode("utf-16"), ", row 1, byte 1 of the file: not UTF-8"),
        (ROW + ROW + b"\xe9" + ROW, f", row 3, byte {2 * len(ROW) + 1} of the file: not UTF-8"),
        (ROW + b"{}\x0c\n", ", row 2: "),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "puzzles.jsonl"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        countdown_problems.load(file)
    assert f"{file}{says}" in caught.value.what
    assert caught.value.next_step


def test_rows_may_end_as_on_windows(tmp_path: Path) -> None:
    file = tmp_path / "puzzles.jsonl"
    file.write_bytes(ROW.replace(b"\n", b"\r\n"))
    assert len(countdown_problems.load(file).problems) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        countdown_problems.load(tmp_path / "absent.jsonl")


def test_problems_that_few_plays_solve_can_be_left_out() -> None:
    ranges = CountdownRanges(max_number=9, max_target=30, min_solutions=20)
    for problem in countdown_problems.generate("test", 20, ranges, 0):
        row = json.loads(problem.reference)
        numbers = countdown.ordered([Fraction(n) for n in row["numbers"]])
        assert countdown.count_solutions(numbers, row["target"]) >= 20
    with pytest.raises(UserError, match=r"only \d+ test problems of these ranges"):
        countdown_problems.generate(
            "test", 500, ranges.model_copy(update={"min_solutions": 10_000}), 0
        )


def test_problems_without_a_solution_are_counted_where_that_is_cheap() -> None:
    rows = ([4, 9, 10, 13], [1, 1, 1, 1], [3, 3, 8, 8], [1, 2])
    problems = [countdown.make_problem(numbers, 24) for numbers in rows]
    assert countdown_problems.unsolvable(problems) == 2
    assert countdown_problems.unsolvable([countdown.make_problem([1] * 5, 24)]) is None
    assert countdown_problems.unsolvable([]) == 0
