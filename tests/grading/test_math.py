from __future__ import annotations

from importlib.metadata import version

import pytest

from qstar_core.grading import Outcome, math, math_pool
from qstar_core.grading.math_pool import Finding
from qstar_core.grading.math_worker import DIFFERENT, EQUAL, ERROR, TIMEOUT, UNREAD


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The pairs that reach math-verify, which is not asked: it finds what `finding` says."""
    pairs: list[tuple[str, str]] = []

    class Scripted:
        def compare(self, new: list[tuple[str, str]]) -> list[Finding]:
            pairs.extend(new)
            return [finding] * len(new)

    finding = Finding(DIFFERENT)
    monkeypatch.setattr(math_pool, "shared", Scripted)
    monkeypatch.setattr(math, "_findings", {})
    return pairs


def scripted(monkeypatch: pytest.MonkeyPatch, finding: Finding) -> None:
    class Scripted:
        def compare(self, new: list[tuple[str, str]]) -> list[Finding]:
            return [finding] * len(new)

    monkeypatch.setattr(math_pool, "shared", Scripted)
    monkeypatch.setattr(math, "_findings", {})


def test_the_grader_names_the_version_that_is_installed() -> None:
    assert version("math-verify") == math.MATH_VERIFY
    assert math.MATH_VERIFY in math.GRADER_VERSION


@pytest.mark.parametrize(
    ("gold", "answer", "outcome"),
    [
        (r"\frac{1}{2}", r"\frac{1} {2}", Outcome.CORRECT),
        (r"\frac{1}{2}", "0.5", Outcome.CORRECT),
        ("1,234", "1234", Outcome.CORRECT),
        ("2", "3", Outcome.WRONG),
        (r"\frac{1}{2}", r"\frac{1}{3}", Outcome.WRONG),
        ("2", None, Outcome.NO_ANSWER),
        ("2", "2" * (math.MAX_CHARACTERS + 1), Outcome.GRADER_ERROR),
    ],
)
def test_what_needs_no_mathematics_is_graded_at_once(
    gold: str, answer: str | None, outcome: Outcome, asked: list[tuple[str, str]]
) -> None:
    [grade] = math.grades([(gold, answer)])
    assert grade.outcome is outcome
    assert bool(grade.reason) == (outcome is not Outcome.CORRECT)
    assert asked == []


@pytest.mark.parametrize(
    ("gold", "answer"), [("0.5", r"50\%"), (r"\frac{1}{3}", "0.3333"), ("x", "y")]
)
def test_the_rest_is_left_to_math_verify(
    gold: str, answer: str, asked: list[tuple[str, str]]
) -> None:
    math.grades([(gold, answer)] * 3)
    math.grades([(gold, answer)])
    assert asked == [(gold, answer)]  # once


def test_needless_characters_do_not_reach_math_verify(asked: list[tuple[str, str]]) -> None:
    math.grades([(r"\frac{12}{5,\!525}.", "x, ")])
    assert asked == [(r"\frac{12}{5525}", "x")]


ALIKE, OTHER = ("6:00", r"6:00 \text{ PM}"), ("6:00", "7:00")


@pytest.mark.parametrize(
    ("finding", "pair", "outcome", "reason"),
    [
        (Finding(EQUAL), ALIKE, Outcome.CORRECT, ""),
        (Finding(EQUAL), OTHER, Outcome.CORRECT, math.BY_VALUE),
        (Finding(DIFFERENT), ALIKE, Outcome.CORRECT, math.BY_FORM),
        (Finding(UNREAD, "no"), ALIKE, Outcome.CORRECT, math.BY_FORM),
        (Finding(TIMEOUT, "5 s"), ALIKE, Outcome.CORRECT, math.BY_FORM),
        (Finding(DIFFERENT), OTHER, Outcome.WRONG, "answers 7:00, not 6:00"),
        (Finding(UNREAD, "cannot read"), OTHER, Outcome.WRONG, "cannot read"),
        (Finding(TIMEOUT, "5 s"), OTHER, Outcome.TIMEOUT, "5 s"),
        (Finding(ERROR, "crash"), OTHER, Outcome.GRADER_ERROR, "crash"),
    ],
)
def test_the_second_grader_speaks_where_the_first_does_not_say_equal(
    finding: Finding,
    pair: tuple[str, str],
    outcome: Outcome,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted(monkeypatch, finding)
    [grade] = math.grades([pair])
    assert grade.outcome is outcome
    assert reason in grade.reason
    assert bool(grade.reason) == bool(reason)
    assert grade.answer in ("6:00", "7:00")


def test_findings_are_kept_up_to_a_number(
    asked: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(math, "KEPT", 2)
    pairs = [("x", f"x_{k}") for k in range(5)]
    assert [grade.outcome for grade in math.grades([*pairs, *pairs])] == [Outcome.WRONG] * 10
    assert len(asked) == 5
    math.grades(pairs[3:])
    assert len(asked) == 5
    math.grades(pairs[:1])
    assert len(asked) == 6


def test_both_graders_for_real() -> None:
    pairs: list[tuple[str, str | None]] = [
        ("x + 1", "1 + x"),
        (r"3\sqrt{2}", r"\sqrt{18}"),
        (r"\frac{1}{3}", "0.3333"),
        (r"\text{even}", "odd"),
        ("(1,2)", "(2,1)"),
        (r"\{1,2\}", r"\{2,1\}"),
    ]
    outcomes = [grade.outcome for grade in math.grades(pairs)]
    right, wrong = Outcome.CORRECT, Outcome.WRONG
    assert outcomes == [right, right, wrong, wrong, wrong, right]
