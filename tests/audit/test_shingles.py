from __future__ import annotations

from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.audit.shingles import TEMPLATE, WORDS, near_duplicates, shingles, tokens


def texts(*prompts: str, side: str = "a") -> pl.DataFrame:
    ids = [f"{side}{k}" for k in range(len(prompts))]
    schema = {"problem_id": pl.String, "prompt": pl.String}
    return pl.DataFrame({"problem_id": ids, "prompt": list(prompts)}, schema=schema)


def jaccard(a: list[str], b: list[str]) -> float:
    """By plain multisets of runs of words."""
    sets = []
    for words in (a, b):
        runs = [tuple(words[k : k + WORDS]) for k in range(max(1, len(words) - WORDS + 1))]
        sets.append(Counter(runs if words else []))
    union = (sets[0] | sets[1]).total()
    return (sets[0] & sets[1]).total() / union if union else 0.0


def test_words_are_lower_case_and_signs_are_words() -> None:
    frame = tokens(texts("What is 3 + 4?", "How MANY?"))
    words = frame["words"].to_list()
    assert words == [["what", "is", "3", "+", "4", "?"], ["how", "many", "?"]]


def test_what_all_texts_begin_and_end_with_is_left_out() -> None:
    shot = "Q: one plus one? A: two. Q:"
    prompts = [f"{shot} {k} and {k + 1}? A:" for k in range(TEMPLATE)]
    assert tokens(texts(*prompts))["words"][9].to_list() == ["9", "and", "10"]
    assert tokens(texts(*prompts[1:]))["words"][0].len() > 10  # too few to tell
    assert tokens(texts(*["same"] * TEMPLATE))["words"][0].to_list() == ["same"]


def test_a_beginning_of_another_text_has_no_words_of_its_own() -> None:
    more = [f"a b {k}" for k in range(TEMPLATE)]
    assert tokens(texts("a b", *more))["words"].to_list()[:2] == [[], ["0"]]
    assert near_duplicates(texts("a b"), texts(*more, side="b"), 0.5).is_empty()


def test_repeated_shingles_count_apart() -> None:
    frame = shingles(tokens(texts("4 4 4 4 4", "1 4 4 2")))
    assert frame.group_by("problem_id").len().sort("problem_id")["len"].to_list() == [3, 2]
    assert frame.filter(pl.col("problem_id") == "a0")["size"].to_list() == [3, 3, 3]


def test_a_word_more_in_a_long_question_is_a_near_duplicate() -> None:
    question = (
        "natalia sold clips to 48 of her friends in april and then half as many in may and again "
        "as many in june how many clips in all"
    )
    train = texts(question + " did she sell", "a train leaves at nine and arrives at ten")
    test = texts(question + " then did she sell", "how tall is the tower", side="b")
    found = near_duplicates(train, test, 0.8)
    assert found.select("left", "right").rows() == [("a0", "b0")]
    assert 0.8 <= found["jaccard"][0] < 1


def test_countdown_problems_that_differ_in_a_number_are_no_near_duplicates() -> None:
    train = texts("12 10 9 7 4 2 > 24\n", "10 9 4 > 8\n")
    test = texts("12 10 9 7 4 2 > 25\n", "10 9 4 > 9\n", "11 10 9 7 4 2 > 24\n", side="b")
    assert near_duplicates(train, test, 0.8).is_empty()


def test_without_texts_there_is_nothing() -> None:
    assert near_duplicates(texts(), texts(side="b"), 0.8).is_empty()
    assert near_duplicates(texts("a b c d"), texts(side="b"), 0.8).is_empty()
    assert near_duplicates(texts("", "  "), texts("", side="b"), 0.8).is_empty()


def test_equal_ids_are_no_pair() -> None:
    frame = texts("one two three four five", "six seven")
    assert near_duplicates(frame, frame, 0.5).is_empty()


WORD = st.sampled_from(["a", "b", "c", "1", "+"])
TEXTS = st.lists(st.lists(WORD, max_size=9).map(" ".join), min_size=1, max_size=6)


@given(TEXTS, TEXTS, st.sampled_from([0.3, 0.5, 2 / 3, 0.8, 1.0]))
def test_all_pairs_are_found_and_no_other(a: list[str], b: list[str], threshold: float) -> None:
    # two texts that share neither beginning nor end with any other: all words are kept
    left, right = texts(*a, "x y z"), texts(*b, "u v w", side="b")
    found = near_duplicates(left, right, threshold)
    expected = {
        (i, j): jaccard(x.split(), y.split())
        for i, x in left.iter_rows()
        for j, y in right.iter_rows()
        if jaccard(x.split(), y.split()) >= threshold - 1e-9
    }
    got = {(i, j): value for i, j, value in found.iter_rows()}
    assert got == pytest.approx(expected)
    assert found["jaccard"].is_sorted(descending=True)
