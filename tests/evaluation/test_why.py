from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.evaluation.why import again, legend, names, why
from qstar_core.search import ALGORITHMS
from tests.evaluation.examples import searches


def node(number: int, parent: int, text: str, **fields: Any) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(("q", "h", "f", "correct"))
    rest = {"g": 1.0, "order": -1, "terminal": False, "chosen": False}
    return {"node": number, "parent": parent, "text": text, **empty, **rest, **fields}


def end(number: int, parent: int, text: str, q: float, **fields: Any) -> dict[str, Any]:
    scores = {"q": q, "h": q, "f": 1.0 + q, "terminal": True}
    return node(number, parent, text, **{**scores, "order": number, **fields})


ROOT = node(0, -1, "9 3 2 > 6\n", order=0, chosen=True)
INNER = [
    node(1, 0, "first\n", q=0.875, h=0.875, f=1.875, order=1, chosen=True),
    node(2, 0, "second\n", q=0.25, h=0.25, f=1.25, order=3),
]


WALKED = {"logprob": -2.0, "step_tokens": 2}


def said(*nodes: dict[str, Any], algorithm: str = "astar") -> str:
    row = {"algorithm": algorithm, "stop_reason": "budget", "nodes": list(nodes)}
    return " ".join(why(row))


def test_the_runner_up_and_where_the_paths_part() -> None:
    best = end(3, 1, "x", 0.75, chosen=True, correct=True)
    text = said(ROOT, *INNER, best, end(4, 1, "y", 0.125), end(5, 2, "z", 0.5, correct=False))
    assert text == (
        "Returned is, of 3 trajectories that came to an end, the best: f = 1.750 (g 1.000, "
        'h 0.750). The runner-up "z" has f = 1.500 (g 1.000, h 0.500); what sets them apart is h '
        '(0.750 against 0.500). Their paths part at the first step: "first" and "second" have Q '
        "0.875 and 0.250 there: Q favoured the returned path from there on. The returned "
        "trajectory is right."
    )


def test_a_difference_is_told_with_the_digits_that_show_it() -> None:
    best = end(3, 1, "x", 0.00042, chosen=True, correct=True)
    text = said(ROOT, *INNER, best, end(5, 2, "z", 0.00031, correct=False))
    assert "what sets them apart is h (0.0004 against 0.0003)." in text
    best = end(3, 1, "x", 0.12345, chosen=True, correct=True)
    text = said(ROOT, *INNER, best, end(4, 1, "z", 0.12338, correct=False))
    assert "what sets them apart is h (0.1235 against 0.1234)." in text
    assert '"x" and "z" have Q 0.1235 and 0.1234 there' in text


def test_states_with_children_of_two_expansions_were_taken_up_again() -> None:
    """#0 has nodes 1 and 2, then #1 has 3, then #0 has 4."""
    nodes = [ROOT, *INNER, node(3, 1, "x", f=1.5), node(4, 0, "late", f=1.2, order=4)]
    assert again(nodes[:4]) == [] and again(nodes[::-1]) == [0]
    assert "a number that is missing" in legend("astar", nodes)
    assert "a number that is missing" not in legend("mcts", nodes)
    assert "without f" not in legend("astar", nodes)
    assert "a state without f was not followed" in legend("astar", [*nodes, node(5, 1, "same")])


def test_last_steps_that_differ() -> None:
    text = said(ROOT, *INNER, end(3, 1, "x", 0.75, chosen=True), end(4, 1, "y", 0.125))
    assert 'part after "first": "x" and "y" have Q 0.750 and 0.125 there, their last steps' in text
    assert "right" not in text and "wrong" not in text  # not graded


def test_q_that_was_turned_round_by_later_steps() -> None:
    wrong_way = [{**INNER[0], "q": 0.125}, INNER[1]]
    text = said(ROOT, *wrong_way, end(3, 1, "x", 0.75, chosen=True), end(4, 2, "z", 0.5))
    assert "Q favoured the runner-up there, later steps turned it round" in text
    open_ = [{**INNER[0], "q": 0.25}, INNER[1]]
    text = said(ROOT, *open_, end(3, 1, "x", 0.75, chosen=True), end(4, 2, "z", 0.5))
    assert "Q left it open" in text


def test_g_may_decide() -> None:
    best = end(3, 1, "x", 0.5, chosen=True)
    text = said(ROOT, *INNER, best, end(4, 2, "z", 0.75, g=0.0, f=0.75))
    assert "what sets them apart is g (1.000 against 0.000) and h (0.500 against 0.750)" in text


def test_equal_f() -> None:
    text = said(ROOT, *INNER, end(3, 1, "x", 0.5, chosen=True), end(4, 1, "y", 0.5))
    assert "as large; of equal ones the one finished first is returned" in text


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([False], "wrong, and so is every other"),
        ([True, False], '1 of the others is right: the best of them, "4", has f = 1.250'),
        ([True, True], "2 of the others are right"),
        ([], "It is wrong."),
    ],
)
def test_a_wrong_answer_and_the_others(others: list[bool], words: str) -> None:
    ends = [end(4 + i, 1, str(4 + i), 0.25, correct=right) for i, right in enumerate(others)]
    assert words in said(ROOT, *INNER, end(3, 1, "x", 0.5, chosen=True, correct=False), *ends)


def test_the_only_end_is_compared_with_what_was_left() -> None:
    text = said(ROOT, *INNER, end(3, 1, "x", 0.5, chosen=True))
    assert "the only trajectory that came to an end, with f = 1.500" in text
    assert 'The best state that was not taken up, "second", has f = 1.250' in text


def test_nothing_was_finished() -> None:
    rows = [{**n, "chosen": False} for n in (ROOT, *INNER)]
    text = said(*rows)
    assert text.startswith("Nothing is returned: no trajectory was finished (ended: budget).")
    assert 'still to be taken up is "first" with f = 1.875' in text
    assert said(rows[0]).endswith("(ended: budget).")
    assert said() == ""


def test_votes_and_greedy() -> None:
    best, other = end(3, 1, "x", 0.0, f=0.75, chosen=True), end(4, 2, "z", 0.0, f=0.25)
    text = said(ROOT, *INNER, best, other, algorithm="self_consistency")
    assert "whose answer has 0.750 of the votes, the most of 2 answers" in text
    assert "The next answer has 0.250 of them" in text
    assert "no choice" in said(ROOT, *INNER, best, algorithm="greedy")


def test_mcts_speaks_of_visits() -> None:
    """Walks: the question, first, x, second, z; f of a node and what each walk found:
    first 1.875 + 1.75 + 1.75, second 1.25 + 1.5 + 1.5, three visits of each."""
    inner = [{**n, **WALKED} for n in INNER]
    best, other = end(3, 1, "x", 0.75, chosen=True, order=2), end(4, 2, "z", 0.5, order=4)
    text = said(ROOT, *inner, best, other, algorithm="mcts")
    assert "the best: value 1.750 (rewards 1.000, Q 0.750)" in text
    assert "what sets them apart is Q (0.750 against 0.500)" in text
    assert text.endswith(
        'Their paths part at the first step: "first" was visited 3 times (mean value 1.792, '
        'prior 0.500), "second" 3 times (mean value 1.417, prior 0.500): as often.'
    )
    text = said(ROOT, *inner, best, {**other, "order": -1}, algorithm="mcts")
    assert "visited 3 times" in text and "2 times" in text
    assert text.endswith("the walks preferred the returned path.")
    text = said(ROOT, INNER[0], {**INNER[1], "order": -1}, best, algorithm="mcts")
    assert 'not expanded, "second", has value 1.250 (rewards 1.000, Q 0.250)' in text
    assert '"second" once (mean value 1.250)' in text


@pytest.mark.parametrize("algorithm", ["beam", "dvts"])
def test_beams_keep_and_prune(algorithm: str) -> None:
    best, other = end(3, 1, "x", 0.75, chosen=True), end(4, 2, "z", 0.5)
    text = said(ROOT, *INNER, best, other, algorithm=algorithm)
    assert '"first" (score 1.875) was kept, "second" (score 1.250) was kept.' in text
    text = said(ROOT, *INNER, best, algorithm=algorithm)
    assert 'The best state that was not extended, "second", has' in text
    assert '"first" (score 1.875) was kept, "second" (score 1.250) was pruned.' in text
    text = said(ROOT, *INNER, best, end(4, 1, "y", 0.5), algorithm=algorithm)
    assert '"x" (score 1.750) came to an end, "y" (score 1.500) came to an end.' in text


@pytest.mark.parametrize(("algorithm", "word"), [("mcts", "value"), ("beam", "score")])
def test_only_searches_by_f_g_and_h_speak_of_them(algorithm: str, word: str) -> None:
    inner = [{**n, **WALKED} for n in INNER]
    best = end(3, 1, "x", 0.75, chosen=True, correct=False, order=2)
    rows = (ROOT, *inner, best, end(4, 2, "z", 0.5, g=0.5, f=1.0, order=4, correct=True))
    text = said(*rows, algorithm=algorithm)
    nothing = said(*({**n, "chosen": False} for n in (ROOT, *inner)), algorithm=algorithm)
    assert f'"z", has {word} 1.000' in text and "rewards (1.000 against 0.500)" in text
    assert f'"first" with {word} 1.875' in nothing
    for told in (text, nothing, legend(algorithm)):
        for foreign in ("f =", "g 1", "h 0", "lambda h"):
            assert foreign not in told
    assert set(names(algorithm).values()) == {word, "rewards", "Q"}


def test_best_first_has_no_g() -> None:
    best = end(3, 1, "x", 0.75, f=0.75, g=0.0, chosen=True)
    assert "with f = 0.750 (h 0.750)." in said(ROOT, *INNER, best, algorithm="best_first")


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm_says_what_its_numbers_are(algorithm: str) -> None:
    assert legend(algorithm).endswith("log p is in nats.")


def test_steps_without_q() -> None:
    plain = [{**n, "q": None} for n in INNER]
    text = said(ROOT, *plain, end(3, 1, "x", 0.75, chosen=True), end(4, 2, "z", 0.5))
    assert "Q was not asked there" in text


@given(st.randoms())
def test_the_order_of_the_rows_does_not_matter(shuffle: Any) -> None:
    rows = [ROOT, *INNER, end(3, 1, "x", 0.5, chosen=True), end(4, 2, "z", 0.25)]
    mixed = list(rows)
    shuffle.shuffle(mixed)
    assert said(*mixed) == said(*rows)


def test_every_real_search_has_its_reasons() -> None:
    for row in searches().iter_rows(named=True):
        sentences = why(row)
        assert sentences and all(sentence.endswith(".") for sentence in sentences)
        right = "The returned trajectory is right." in sentences
        assert right is (row["outcome"] == "correct")
