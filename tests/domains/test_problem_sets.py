"""Problems of files and generated ones, in their splits; rows of countdown but where said."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from qstar_core.config import CountdownRanges, DomainConfig
from qstar_core.domains import countdown, countdown_problems, problem_rows, problem_sets
from qstar_core.errors import UserError


def test_load_reads_a_users_file(tmp_path: Path) -> None:
    file = tmp_path / "puzzles.jsonl"
    row = '{"numbers": [4, 9, 10, 13], "target": 24}'
    file.write_text(f"{row}\n\n{row}\n" + '{"numbers": [1, 1, 1, 1], "target": 24}\n')
    found = problem_sets.load(file, "countdown", "test")
    assert [p.prompt for p in found.problems] == ["13 10 9 4 > 24\n", "1 1 1 1 > 24\n"]
    assert found.repeated == 1


def test_a_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = b'{"numbers": [1, 2, 3], "target": 6}\n'
    fits, bomb = tmp_path / "fits.gz", tmp_path / "bomb.gz"
    fits.write_bytes(gzip.compress(row * 10))
    bomb.write_bytes(gzip.compress(row * 1_000_000))
    monkeypatch.setattr(problem_rows, "MAX_BYTES", 10 * len(row))
    assert problem_sets.load(fits, "countdown", "train").repeated == 9
    tracemalloc.start()
    with pytest.raises(UserError, match=f"bomb.gz: more than {10 * len(row)} bytes") as caught:
        problem_sets.load(bomb, "countdown", "train")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert "split it" in caught.value.next_step


def write_rows(file: Path, targets: Sequence[int]) -> str:
    file.write_text("".join(f'{{"numbers": [1, 2, 3], "target": {t}}}\n' for t in targets))
    return str(file)


def test_a_file_is_used_as_a_whole_unless_a_count_is_given(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "p.jsonl", range(150))
    whole = DomainConfig(test_file=file)
    assert (
        len(problem_sets.problems(whole, "test", seed=0))
        == problem_sets.count(whole, "test")
        == 150
    )
    assert problem_sets.notes(whole) == []
    some = DomainConfig(test_file=file, test_problems=100)
    first = problem_sets.problems(some, "test", seed=0)
    assert [countdown.start(p)[1] for p in first] == list(range(100))
    assert problem_sets.notes(some) == [f"domain.test_problems: first 100 of 150 rows of {file}"]
    assert problem_sets.count(DomainConfig(test_file=file, test_problems=900), "test") == 150


def test_repeated_rows_are_counted_aloud(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "p.jsonl", [5, 6, 5, 5])
    domain = DomainConfig(train_file=file)
    assert problem_sets.count(domain, "train") == 2
    assert problem_sets.notes(domain) == [f"{file}: 2 rows repeat an earlier one; used once"]


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("test", "train")])
def test_generated_problems_leave_out_the_other_splits_file(
    tmp_path: Path, split: str, other: str
) -> None:
    ranges = CountdownRanges(numbers=(3,))
    plain = countdown_problems.generate(split, 20, ranges, seed=0)
    file = tmp_path / "p.jsonl"
    file.write_text("".join(problem.reference + "\n" for problem in plain[5:10]))
    fields = {f"{other}_file": str(file), f"{split}_problems": 15, f"{other}_problems": 1}
    domain = DomainConfig(ranges=ranges, **fields)  # type: ignore[arg-type]
    assert problem_sets.problems(domain, split, seed=0) == [*plain[:5], *plain[10:]]


def test_two_files_must_not_share_a_problem(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", [1, 2, 3, 4, 5])
    test = write_rows(tmp_path / "test.jsonl", [7, 8, 4, 2])
    with pytest.raises(UserError, match="same problem, 3 2 1 > 4") as caught:
        problem_sets.check_disjoint(DomainConfig(train_file=train, test_file=test))
    assert f"{test}, row 3 and {train}, row 4" in caught.value.what
    assert f"remove row 4 of {train}" in caught.value.next_step
    apart = write_rows(tmp_path / "apart.jsonl", [7, 8])
    problem_sets.check_disjoint(DomainConfig(train_file=train, test_file=apart))


def test_generated_problems_have_a_default_count() -> None:
    domain = DomainConfig(test_problems=3, ranges=CountdownRanges(numbers=(3,)))
    assert problem_sets.count(domain, "train") == 2000
    assert (
        len(problem_sets.problems(domain, "test", seed=0))
        == problem_sets.count(domain, "test")
        == 3
    )
    assert problem_sets.notes(domain) == []


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
        problem_sets.load(file, "countdown", "test")
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
        problem_sets.load(file, "countdown", "test")
    assert f"{file}{says}" in caught.value.what
    assert caught.value.next_step


def test_rows_may_end_as_on_windows(tmp_path: Path) -> None:
    file = tmp_path / "puzzles.jsonl"
    file.write_bytes(ROW.replace(b"\n", b"\r\n"))
    assert len(problem_sets.load(file, "countdown", "test").problems) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        problem_sets.load(tmp_path / "absent.jsonl", "countdown", "test")


@pytest.mark.parametrize("domain", sorted(problem_sets.SOURCES))
def test_the_example_of_each_domain_is_a_right_row(tmp_path: Path, domain: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(problem_sets.SOURCES[domain].EXAMPLE + "\n")
    [problem] = problem_sets.load(file, domain, "train").problems
    assert problem.domain == domain


def test_a_file_may_be_compressed(tmp_path: Path) -> None:
    plain, packed = tmp_path / "p.jsonl", tmp_path / "p.jsonl.gz"
    write_rows(plain, [5, 6])
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    files = [problem_sets.load(f, "countdown", "train") for f in (plain, packed)]
    assert files[0].problems == files[1].problems
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(UserError, match="broken gzip"):
        problem_sets.load(packed, "countdown", "train")


def test_a_domain_that_generates_nothing_needs_files(tmp_path: Path) -> None:
    domain = DomainConfig(name="gsm8k", train_problems=5)
    assert problem_sets.count(domain, "train") == 0
    assert problem_sets.problems(domain, "train", seed=0) == []
    with pytest.raises(UserError, match=r"domain\.train_file: gsm8k generates no problems"):
        problem_sets.need(domain, "train", "to sample from")
    file = tmp_path / "p.jsonl"
    file.write_text(problem_sets.SOURCES["gsm8k"].EXAMPLE)
    domain = DomainConfig(name="gsm8k", test_file=str(file))
    problem_sets.need(domain, "test", "to evaluate on")
    [problem] = problem_sets.problems(domain, "test", seed=0)
    assert problem.split == "test"


def test_a_question_is_not_in_both_files_of_gsm8k(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(problem_sets.SOURCES["gsm8k"].EXAMPLE)
    domain = DomainConfig(name="gsm8k", train_file=str(file), test_file=str(file))
    with pytest.raises(UserError, match="same problem"):
        problem_sets.check_disjoint(domain)
