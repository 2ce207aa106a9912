from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.config import CountdownRanges, DomainConfig
from qstar_core.domains import countdown
from qstar_core.errors import UserError
from qstar_core.grading import Outcome
from qstar_core.mdp import Step

SOLVED = ["13 - 9 = 4 | 10 4 4 > 24\n", "10 - 4 = 6 | 6 4 > 24\n", "6 * 4 = 24 | 24 > 24"]
PROBLEM = countdown.make_problem([4, 9, 10, 13], 24)


def solvable_slowly(numbers: list[Fraction], target: int) -> bool:
    """Tries every order of every operation, negative and huge values too."""
    if len(numbers) == 1:
        return numbers[0] == target
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            if i != j:
                rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
                values = [a + b, a - b, a * b] + ([a / b] if b else [])
                if any(solvable_slowly([*rest, v], target) for v in values):
                    return True
    return False


def test_prompt_is_the_first_state() -> None:
    assert PROBLEM.prompt == "13 10 9 4 > 24\n"
    assert json.loads(PROBLEM.reference) == {"numbers": [4, 9, 10, 13], "target": 24}


def test_a_solution_is_correct_and_every_line_legal() -> None:
    grade = countdown.grade(PROBLEM, SOLVED)
    assert (grade.outcome, grade.answer, grade.reward) == (Outcome.CORRECT, "24", 1.0)
    assert countdown.rule_rewards(PROBLEM, SOLVED) == [1.0, 1.0, 1.0]
    assert countdown.q_star(PROBLEM, SOLVED, gamma=0.5) == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    "line",
    [
        "13 - 9 = 5 | 10 5 4 > 24\n",  # false arithmetic
        "13 - 8 = 5 | 10 9 5 4 > 24\n",  # 8 is not there
        "13 - 9 = 4 | 10 4 > 24\n",  # a number is missing
        "13 - 9 = 4 | 10 4 4 > 25\n",  # another target
        "9 - 13 = -4 | 10 4 -4 > 24\n",  # negative
        "13 - 9 = 4\n",  # not repeated what remains
        "13 / 0 = 1 | 10 9 4 1 > 24\n",
        "1/0 + 9 = 4 | 10 4 4 > 24\n",
        "",
        "hello\n",
    ],
)
def test_illegal_lines(line: str) -> None:
    assert countdown.rule_rewards(PROBLEM, [line, *SOLVED[1:]]) == [0.0, 0.0, 0.0]
    assert countdown.grade(PROBLEM, [line, *SOLVED[1:]]).outcome is Outcome.WRONG
    assert countdown.q_star(PROBLEM, [line]) == [0.0]


def test_operands_of_a_sum_may_stand_in_any_order() -> None:
    assert countdown.rule_rewards(PROBLEM, ["4 + 13 = 17 | 17 10 9 > 24\n"]) == [1.0]


def test_unfinished_plays_have_no_answer() -> None:
    assert countdown.grade(PROBLEM, SOLVED[:2]).outcome is Outcome.NO_ANSWER
    assert countdown.grade(PROBLEM, []).outcome is Outcome.NO_ANSWER
    assert countdown.grade(PROBLEM, ["nonsense"]).outcome is Outcome.NO_ANSWER


def test_a_miss_is_wrong_and_says_why() -> None:
    grade = countdown.grade(PROBLEM, [*SOLVED[:2], "6 + 4 = 10 | 10 > 24"])
    assert grade.outcome is Outcome.WRONG
    assert grade.reason == "ends in 10, not 24"


def test_terminal_rule() -> None:
    steps = [Step(text) for text in SOLVED]
    assert not countdown.is_terminal(PROBLEM, [])
    assert not countdown.is_terminal(PROBLEM, steps[:2])
    assert countdown.is_terminal(PROBLEM, steps)
    assert countdown.is_terminal(PROBLEM, [Step(SOLVED[0], ended=True)])


def test_game_of_24_with_fractions() -> None:
    eights = countdown.ordered([Fraction(n) for n in (8, 8, 3, 3)])
    assert countdown.solvable(eights, 24)
    assert not countdown.solvable(countdown.ordered([Fraction(1)] * 4), 24)


@given(st.lists(st.integers(1, 13), min_size=2, max_size=3), st.integers(1, 60))
def test_solvable_agrees_with_brute_force(numbers: list[int], target: int) -> None:
    fractions = [Fraction(n) for n in numbers]
    fast = countdown.solvable(countdown.ordered(fractions), target)
    assert fast == solvable_slowly(fractions, target)
    assert fast == (countdown.count_solutions(countdown.ordered(fractions), target) > 0)


@given(st.lists(st.integers(1, 13), min_size=2, max_size=5), st.integers(10, 100), st.data())
def test_every_move_makes_a_legal_line(
    numbers: list[int], target: int, data: st.DataObject
) -> None:
    state = countdown.ordered([Fraction(n) for n in numbers])
    while moves := list(countdown.moves(state)):  # some states have none, such as 11 8/7
        operator, left, right, after = data.draw(st.sampled_from(moves))
        text = countdown.line(operator, left, right, after, target)
        assert countdown.follow(state, target, text) == after
        state = after


def test_splits_are_disjoint_and_do_not_depend_on_the_order_of_numbers() -> None:
    ranges = CountdownRanges()
    train = countdown.generate("train", 50, ranges, seed=0)
    test = countdown.generate("test", 50, ranges, seed=0)
    assert not {p.id for p in train} & {p.id for p in test}
    assert {p.split for p in train} == {"train"}
    assert countdown.split_of([1, 2, 3, 4], 24) == countdown.split_of([4, 2, 1, 3], 24)
    assert [p.id for p in countdown.generate("train", 20, ranges, seed=0)] == [
        p.id for p in train[:20]
    ]
    assert countdown.generate("train", 50, ranges, seed=1) != train


def test_generated_problems_are_solvable() -> None:
    for problem in countdown.generate("test", 30, CountdownRanges(numbers=3), seed=3):
        assert countdown.solvable(*countdown.start(problem))


def test_too_narrow_ranges_are_the_users_error() -> None:
    ranges = CountdownRanges(numbers=2, min_number=1, max_number=2, min_target=3, max_target=4)
    with pytest.raises(UserError, match="only"):
        countdown.generate("train", 100, ranges, seed=0)


def test_load_reads_a_users_file(tmp_path: Path) -> None:
    file = tmp_path / "puzzles.jsonl"
    row = '{"numbers": [4, 9, 10, 13], "target": 24}'
    file.write_text(f"{row}\n\n{row}\n" + '{"numbers": [1, 1, 1, 1], "target": 24}\n')
    found = countdown.load(file)
    assert [p.prompt for p in found.problems] == ["13 10 9 4 > 24\n", "1 1 1 1 > 24\n"]
    assert found.repeated == 1


def write_rows(file: Path, targets: Sequence[int]) -> str:
    file.write_text("".join(f'{{"numbers": [1, 2, 3], "target": {t}}}\n' for t in targets))
    return str(file)


def test_a_file_is_used_as_a_whole_unless_a_count_is_given(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "p.jsonl", range(150))
    whole = DomainConfig(test_file=file)
    assert len(countdown.problems(whole, "test", seed=0)) == countdown.count(whole, "test") == 150
    assert countdown.notes(whole) == []
    some = DomainConfig(test_file=file, test_problems=100)
    first = countdown.problems(some, "test", seed=0)
    assert [countdown.start(p)[1] for p in first] == list(range(100))
    assert countdown.notes(some) == [f"domain.test_problems: first 100 of 150 rows of {file}"]
    assert countdown.count(DomainConfig(test_file=file, test_problems=900), "test") == 150


def test_repeated_rows_are_counted_aloud(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "p.jsonl", [5, 6, 5, 5])
    domain = DomainConfig(train_file=file)
    assert countdown.count(domain, "train") == 2
    assert countdown.notes(domain) == [f"{file}: 2 rows repeat an earlier one; used once"]


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("test", "train")])
def test_generated_problems_leave_out_the_other_splits_file(
    tmp_path: Path, split: str, other: str
) -> None:
    ranges = CountdownRanges(numbers=3)
    plain = countdown.generate(split, 20, ranges, seed=0)
    file = tmp_path / "p.jsonl"
    file.write_text("".join(problem.reference + "\n" for problem in plain[5:10]))
    fields = {f"{other}_file": str(file), f"{split}_problems": 15, f"{other}_problems": 1}
    domain = DomainConfig(ranges=ranges, **fields)  # type: ignore[arg-type]
    assert countdown.problems(domain, split, seed=0) == [*plain[:5], *plain[10:]]


def test_two_files_must_not_share_a_problem(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", [1, 2, 3, 4, 5])
    test = write_rows(tmp_path / "test.jsonl", [7, 8, 4, 2])
    with pytest.raises(UserError, match="same problem, 3 2 1 > 4") as caught:
        countdown.check_disjoint(DomainConfig(train_file=train, test_file=test))
    assert f"{test}, row 3 and {train}, row 4" in caught.value.what
    assert f"remove row 4 of {train}" in caught.value.next_step
    apart = write_rows(tmp_path / "apart.jsonl", [7, 8])
    countdown.check_disjoint(DomainConfig(train_file=train, test_file=apart))


def test_generated_problems_have_a_default_count() -> None:
    domain = DomainConfig(test_problems=3, ranges=CountdownRanges(numbers=3))
    assert countdown.count(domain, "train") == 2000
    assert len(countdown.problems(domain, "test", seed=0)) == countdown.count(domain, "test") == 3
    assert countdown.notes(domain) == []


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
        countdown.load(file)
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
        countdown.load(file)
    assert f"{file}{says}" in caught.value.what
    assert caught.value.next_step


def test_rows_may_end_as_on_windows(tmp_path: Path) -> None:
    file = tmp_path / "puzzles.jsonl"
    file.write_bytes(ROW.replace(b"\n", b"\r\n"))
    assert len(countdown.load(file).problems) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        countdown.load(tmp_path / "absent.jsonl")
