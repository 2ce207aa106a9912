from __future__ import annotations

import pytest

from qstar_core.config import DomainConfig
from qstar_core.domains.in_words import Frame, expected_tokens, is_over, left_tokens
from qstar_core.mdp import Step

FRAME = Frame("gsm8k", before="Q: ", after="\nA:")


def test_a_question_is_framed_and_found_again() -> None:
    problem = FRAME.problem(" How many?\n", {"answer": "7"}, "test")
    assert problem.prompt == "Q: How many?\nA:"
    assert (problem.domain, problem.reference, problem.split) == ("gsm8k", '{"answer":"7"}', "test")
    assert FRAME.question(problem) == "How many?"
    assert FRAME.unanswered("How many?").reference == '{"answer":null}'
    with pytest.raises(ValueError, match="question is empty"):
        FRAME.unanswered(" \n")


@pytest.mark.parametrize(
    ("steps", "answered", "over"),
    [
        ([], True, False),
        ([Step("x\n")], False, False),
        ([Step("x\n")], True, True),
        ([Step("x", ended=True)], False, True),
        ([Step("x\n")] * 3, False, True),
    ],
)
def test_a_solution_ends_by_itself_or_where_there_is_no_room(
    steps: list[Step], answered: bool, over: bool
) -> None:
    assert is_over(steps, 3, lambda: answered) is over


def test_every_line_may_take_all_tokens() -> None:
    domain = DomainConfig(name="gsm8k")
    assert expected_tokens(domain, 96) == 96
    assert left_tokens(4, domain, 96) == (96, [96, 96, 96])
