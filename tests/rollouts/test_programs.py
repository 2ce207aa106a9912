"""Rollouts of programs: steps of so many tokens, and all samples of a shard graded together."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

import pytest

from qstar_core.config import RolloutsConfig
from qstar_core.domains import mbpp
from qstar_core.errors import UserError
from qstar_core.grading import Grade, Outcome
from qstar_core.grading.code import Suite
from qstar_core.mdp import Problem, Step
from qstar_core.policies import Sample, SampleRequest, StepRule
from qstar_core.policies.steps import step_rule
from qstar_core.rollouts import grades
from qstar_core.rollouts.grades import graded_many
from qstar_core.rollouts.sample import sample_rollouts

PROBLEMS = [
    mbpp.make_problem(
        f"Write a function to add {n}.", Suite((f"assert add(1) == {1 + n}",)), "train"
    )
    for n in (1, 2)
]
PROGRAMS = ("def add(x):\n    return x + 1\n", "def add(x):\n    return x + 2\n", "")


class Writer:
    """Answers every prompt with the same programs, in two steps each."""

    fingerprint = "writer"
    batch_independent = True

    def __init__(self) -> None:
        self.asked: list[SampleRequest] = []

    def sample(
        self, requests: Sequence[SampleRequest], done: Callable[[int, int], None] | None = None
    ) -> list[list[Sample]]:
        self.asked += requests
        return [
            [
                Sample((Step(text[:9], 24), Step(text[9:], 3, ended=True)), "end")
                for text in PROGRAMS[: len(ask.seeds)]
            ]
            for ask in requests
        ]


def test_a_domain_says_how_long_its_steps_are() -> None:
    assert step_rule("mbpp") == StepRule(newline=False, tokens=24)
    assert step_rule("countdown") == step_rule("gsm8k") == StepRule(newline=True)


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")
def test_programs_are_sampled_by_tokens_and_graded_by_their_tests() -> None:
    writer = Writer()
    config = RolloutsConfig(samples=len(PROGRAMS))
    rows = sample_rollouts(PROBLEMS, writer, config, seed=0).to_pylist()
    assert {ask.rule for ask in writer.asked} == {StepRule(newline=False, tokens=24)}
    outcomes = [[row["outcome"] for row in rows if row["problem_id"] == p.id] for p in PROBLEMS]
    assert outcomes == [["correct", "wrong", "no_answer"], ["wrong", "correct", "no_answer"]]
    assert rows[0]["answer"] == PROGRAMS[0].strip() and rows[0]["grader"] == "mbpp-sandbox"


PAIRS: list[tuple[Problem, list[str]]] = [(problem, [PROGRAMS[0]]) for problem in PROBLEMS]


def test_one_text_that_a_grader_cannot_cope_with_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def grade(problem: Problem, steps: Sequence[str]) -> Grade:
        if problem is PROBLEMS[0]:
            raise ValueError("broken")
        return Grade(Outcome.CORRECT)

    def grade_many(pairs: Sequence[tuple[Problem, Sequence[str]]]) -> list[Grade]:
        return [grade(*pair) for pair in pairs]

    monkeypatch.setattr(mbpp, "grade", grade)
    monkeypatch.setattr(mbpp, "grade_many", grade_many)
    found = graded_many("mbpp", PAIRS)
    assert [grade.outcome for grade in found] == [Outcome.GRADER_ERROR, Outcome.CORRECT]
    assert "broken" in found[0].reason


def test_a_machine_that_lacks_something_is_not_taken_for_a_wrong_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(*_: object) -> list[Grade]:
        raise UserError("bubblewrap is missing")

    monkeypatch.setattr(mbpp, "grade_many", missing)
    monkeypatch.setattr(mbpp, "grade", missing)
    with pytest.raises(UserError, match="missing"):
        graded_many("mbpp", PAIRS)
    with pytest.raises(UserError, match="missing"):
        grades.graded(*PAIRS[0])
