"""Every word in capitals of a page is filled, and one that nobody knows is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, blocks
from tests.docs.shop import merged
from tests.docs.test_blocks import RUN
from tests.docs.words import filled


@pytest.mark.parametrize("page", [p for p in PAGES if p not in RUN], ids=lambda page: page.name)
def test_every_word_in_capitals_stands_for_something(page: Path) -> None:
    for block in blocks(page):
        if block.kind == "shell" and block.excuse is None:
            assert "CONFIG" not in filled(block.text, page.name), block.where


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("qstar evaluate CONFIG --set k=1", "qstar evaluate mine.yaml --set k=1"),
        ("qstar show results/demo/qvm/KEY  # one", "qstar show $(nth results/demo/qvm 0)  # one"),
        ("X=$(date)\nqstar gc OUT", "X=$(date)\nqstar gc results/demo"),
        ("export A_KEY=$KEY", "export A_KEY=$KEY"),
        ("qstar results results/demo --not A\\*", "qstar results results/demo --not A\\*"),
        (
            "qstar diff A B   # which",
            "qstar diff $(nth results/demo/labels 0) $(nth results/demo/labels 1) || test $? = 1"
            "   # which",
        ),
    ],
)
def test_a_block_is_filled_as_a_reader_would(text: str, found: str) -> None:
    assert filled(text, "README.md") == found


@pytest.mark.parametrize("text", ["qstar show NOWHERE", "qstar show elsewhere/qvm/KEY"])
def test_a_word_that_stands_for_nothing_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"what (NOWHERE|KEY) stands for"):
        filled(text, "README.md")


def test_another_page_speaks_of_another_configuration() -> None:
    assert "plain.yaml" in filled("qstar evaluate CONFIG", "domains.md")


def test_changes_are_merged_and_lists_replaced() -> None:
    tree = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert merged(tree, {"a": {"c": [4]}, "e": 5}) == {"a": {"b": 1, "c": [4]}, "d": 3, "e": 5}
    assert tree["a"] == {"b": 1, "c": [1, 2]}
