from __future__ import annotations

import json
from fractions import Fraction

import pytest

from qstar_core.config import CountdownRanges
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
    for problem in countdown_problems.generate("test", 30, CountdownRanges(numbers=(3,)), seed=3):
        assert countdown.solvable(*countdown.start(problem))


def test_of_several_counts_of_numbers_there_are_as_many_problems_of_each() -> None:
    for use_all in (True, False):
        ranges = CountdownRanges(numbers=(3, 4), use_all=use_all)
        problems = countdown_problems.generate("test", 25, ranges, seed=3)
        sizes = [len(countdown.start(problem)[0]) for problem in problems]
        assert sizes == [3, 4] * 12 + [3]
    fewest = [
        countdown.fewest_lines(numbers, numbers, target)
        for numbers, target in map(countdown.start, problems)
    ]
    assert fewest[0::2] == [1, 2] * 6 + [1] and fewest[1::2] == [1, 2, 3] * 4


def test_one_count_is_in_keys_and_manifests_what_it_was_before_there_were_several() -> None:
    for given in (3, (3,), [3]):
        ranges = CountdownRanges.model_validate({"numbers": given})
        assert ranges.rows()["numbers"] == ranges.model_dump(mode="json")["numbers"] == 3
    ranges = CountdownRanges(numbers=(3, 4))
    assert ranges.rows()["numbers"] == ranges.model_dump(mode="json")["numbers"] == [3, 4]
    assert CountdownRanges.model_validate(ranges.model_dump(mode="json")) == ranges


def test_too_narrow_ranges_are_the_users_error() -> None:
    ranges = CountdownRanges(numbers=(2,), min_number=1, max_number=2, min_target=3, max_target=4)
    with pytest.raises(UserError, match="only") as caught:
        countdown_problems.generate("train", 100, ranges, seed=0)
    assert "domain.ranges" in caught.value.next_step
    assert "domain.train_problems" in caught.value.next_step


def test_a_count_of_which_there_are_too_few_is_named() -> None:
    ranges = CountdownRanges(numbers=(4, 2), max_number=6, min_target=1, max_target=20)
    with pytest.raises(UserError, match=r"of 2 numbers .*, 150 asked for") as caught:
        countdown_problems.generate("train", 300, ranges, seed=0)
    assert caught.value.next_step.startswith("leave 2 out of domain.ranges.numbers, widen")


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


def test_an_imported_question_must_be_that_of_its_reference() -> None:
    reference = {"numbers": [4, 9, 10, 13], "target": 24}
    problem = countdown_problems.from_question(" 13 10 9 4 > 24\n", reference, None)
    assert problem == countdown.make_problem([4, 9, 10, 13], 24)
    assert problem == countdown_problems.from_question(
        "13 10 9 4 > 24", json.dumps(reference), "test"
    )
    with pytest.raises(ValueError, match="13 10 9 4 > 24"):
        countdown_problems.from_question("13 10 9 4 > 25", reference, None)
    with pytest.raises(KeyError, match="missing"):
        countdown_problems.from_question("1 2 > 3", {"numbers": [1, 2]}, None)
    with pytest.raises(TypeError, match="not a JSON object"):
        countdown_problems.from_question("1 2 > 3", "3", None)
