from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from qstar_core.evaluation.few_shot_chart import few_shot_chart

SVG = "{http://www.w3.org/2000/svg}"


def points(names: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "questions": n,
            "method": name,
            "accuracy": share,
            "low": share - 0.05,
            "high": share + 0.05,
        }
        for name in names
        for n, share in ((400, 0.6), (25, 0.3), (200, 0.5))
    ]


def test_a_line_per_learner_with_its_points_in_order() -> None:
    root = ElementTree.fromstring(few_shot_chart(points(["learned", "a < b"])))
    texts = ["".join(text.itertext()).strip() for text in root.iter(f"{SVG}text")]
    assert [text for text in texts if text in ("25", "200", "400")] == ["25", "200", "400"]
    assert "learned 60 %" in texts and "a < b 60 %" in texts  # names are escaped
    circles = [
        g.findall(f"{SVG}circle")
        for g in root.iter(f"{SVG}g")
        if g.find(f"{SVG}circle") is not None
    ]
    assert [len(each) for each in circles] == [3, 3]
    for each in circles:
        x, y = ([float(c.attrib[axis]) for c in each] for axis in ("cx", "cy"))
        assert x == sorted(x) and y == sorted(y, reverse=True)  # higher shares are further up


@pytest.mark.parametrize("names", [[], list("abcde")])
def test_none_and_too_many_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="1 to 4"):
        few_shot_chart(points(names))
