from __future__ import annotations

import pytest

from qstar_core.audit.questions import as_frame, duplicates, leakage, refuse_leakage
from qstar_core.domains import countdown
from qstar_core.errors import UserError
from qstar_core.mdp import Problem

LONG = "A farmer has 12 cows and buys 7 more each week for 3 weeks. How many cows are there"


def question(text: str, reference: str = "1") -> Problem:
    return Problem("gsm8k", text, reference)


TRAIN = [question(f"{LONG} now?"), question("2 + 2"), question("3 + 3")]


def test_questions_that_stand_twice_have_the_same_words() -> None:
    twice = [*TRAIN, question("2  + 2\n", "5"), question("2 - 2"), question("3 + 3", "7")]
    found = duplicates(as_frame(twice))
    assert (found["questions"], found["problems"]) == (2, 4)
    assert found["examples"] == [{"prompt": "2 + 2", "n": 2}, {"prompt": "3 + 3", "n": 2}]
    assert duplicates(as_frame(TRAIN))["questions"] == 0


def test_a_problem_that_is_there_twice_is_one_problem() -> None:
    assert duplicates(as_frame([*TRAIN, *TRAIN]))["questions"] == 0


def test_leakage_by_hash_and_by_near_duplicates() -> None:
    test = [TRAIN[1], question(f"{LONG} then?"), question("5 + 5")]
    found = leakage(as_frame(TRAIN), as_frame(test))
    assert (found["train"], found["test"]) == (3, 3)
    assert (found["same"], found["same_examples"]) == (1, ["2 + 2"])
    assert found["near"] == 1
    [pair] = found["near_examples"]
    assert (pair["train"], pair["test"]) == (f"{LONG} now?", f"{LONG} then?")
    assert pair["jaccard"] >= 0.8
    assert leakage(as_frame(TRAIN), as_frame(test), threshold=0.99)["near"] == 0


def test_a_leaked_problem_is_no_near_duplicate_of_another_as_well() -> None:
    found = leakage(as_frame([*TRAIN, question("2 + 2", "5")]), as_frame([TRAIN[1]]))
    assert (found["same"], found["near"]) == (1, 0)


def test_training_refuses_leakage_unless_it_is_allowed_by_name() -> None:
    problem = countdown.make_problem([1, 2, 3], 6)
    with pytest.raises(UserError, match="1 of 1 test problems are training problems") as caught:
        refuse_leakage([problem], [problem], ["near_duplicates"])
    assert "3 2 1 > 6" in caught.value.what
    assert "nothing was trained" in caught.value.safe
    assert "qstar audit LABELS" in caught.value.next_step
    assert "--set 'qvm.allow=[leakage]'" in caught.value.next_step
    assert refuse_leakage([problem], [problem], ["leakage"]) == {"leakage": 1}


def test_training_refuses_near_duplicates_unless_they_are_allowed_by_name() -> None:
    test = [question(f"{LONG} then?")]
    with pytest.raises(UserError, match="near-duplicate") as caught:
        refuse_leakage(TRAIN, test, ["leakage"])
    assert f"{LONG} then? (test) and {LONG} now? (training)" in caught.value.what
    assert "--set 'qvm.allow=[near_duplicates]'" in caught.value.next_step
    assert refuse_leakage(TRAIN, test, ["near_duplicates"]) == {"near_duplicates": 1}


def test_clean_questions_are_not_refused() -> None:
    assert refuse_leakage(TRAIN, [question("5 + 5")], []) == {}
    assert refuse_leakage(TRAIN, [], []) == {}


def test_equal_words_are_leakage_whatever_the_reference() -> None:
    """Annotations seldom say the reference that is part of a problem's id."""
    trained, tested = question(f"{LONG} now?", "null"), question(f"{LONG}  NOW ?", "33")
    assert trained.id != tested.id
    found = leakage(as_frame([trained]), as_frame([tested]))
    assert (found["same"], found["near"]) == (1, 0)
    with pytest.raises(UserError, match="prm: 1 of 1 test problems") as caught:
        refuse_leakage([trained], [tested], ["near_duplicates"], model="prm")
    assert "domain.train_file or test_file, or prm.annotations" in caught.value.next_step
    assert "qstar train-prm CONFIG --set 'prm.allow=[leakage]'" in caught.value.next_step
