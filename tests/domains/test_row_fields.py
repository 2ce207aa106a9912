from __future__ import annotations

import pytest

from qstar_core.domains.row_fields import as_object, as_text, text_of


def test_the_first_field_that_is_there_counts() -> None:
    row = {"a": None, "b": "x", "c": "y"}
    assert text_of(row, "b") == text_of(row, "a", "b", "c") == "x"
    assert text_of({"a": ""}, "a", "b") == ""


def test_what_is_missing_or_no_text_is_named() -> None:
    with pytest.raises(KeyError, match="field 'a' is missing"):
        text_of({"a": None}, "a")
    with pytest.raises(KeyError, match="field 'a' or 'b' is missing"):
        text_of({}, "a", "b")
    with pytest.raises(TypeError, match=r"b must be a text, got \[1\]"):
        text_of({"b": [1]}, "a", "b")
    with pytest.raises(TypeError, match="a label must be a text, got 1"):
        as_text(1, "a label")
    with pytest.raises(TypeError, match="not a JSON object"):
        as_object([1])
    assert as_object({"a": 1}) == {"a": 1}
