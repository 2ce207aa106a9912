from __future__ import annotations

import pytest

from qstar_core.domains import mbpp
from qstar_core.keys import content_id, sample_seed
from qstar_core.mdp import Problem, State, Step
from qstar_core.policies import Sample, StepRule
from qstar_core.search import slot as module
from qstar_core.search.budget import Budget
from qstar_core.search.requests import Drawn, Proposed
from qstar_core.search.slot import Rules, Slot, episode, start, whole_steps
from tests.search.trees import AMPLE, make_config, make_problem


def slot(budget: Budget = AMPLE, **fields: object) -> Slot:
    return start(3, make_problem(), Rules(make_config(k=2, **fields), budget, 7, 5, 9))


def test_seeds_are_of_run_state_and_index_and_go_on() -> None:
    one = slot(algorithm="best_of_n", n=30)
    [(_, first)] = one.sample_requests()
    row = content_id("search", State(make_problem()).id)
    assert first.seeds == tuple(sample_seed(7, row, k) for k in range(8))
    [(_, second)] = one.sample_requests()
    assert second.seeds == tuple(sample_seed(7, row, k) for k in range(8, 16))


def test_a_round_of_a_search() -> None:
    one = slot()
    [(place, asked)] = one.sample_requests()
    assert (place, len(asked.seeds), asked.max_steps, asked.max_new_tokens) == (0, 2, 1, 5)
    assert one.score_requests() == []
    one.take_samples(0, [Sample((Step("a\n", 2),), "steps"), Sample((Step("b", 2),), "length")])
    assert one.answers == [[Proposed(Step("a\n", 2), 2)]]  # the other one is cut off
    one.advance()
    assert one.sample_requests() == []
    assert one.score_requests() == [(0, ("q", [("q\na\n", False)]))]
    one.take_values(0, [0.5])
    one.advance()
    assert one.result is None
    spent = one.ledger
    assert (spent.policy_tokens, spent.value_calls, spent.expansions) == (4, 1, 1)


def test_nothing_is_asked_once_the_budget_is_over() -> None:
    one = slot(Budget(10, 10, 10, seconds=2.0))
    one.ledger.seconds = 2.0
    while one.result is None:
        assert one.sample_requests() == [] and one.score_requests() == []
        one.advance()
    assert one.result.stop_reason == "budget" and one.ledger.expansions == 0
    assert one.result.seconds == 2.0


def test_whatever_is_refused_ends_the_search() -> None:
    for answer in (ValueError("too long"), RuntimeError("odd")):
        one = slot()
        one.sample_requests()
        one.take_samples(0, answer)
        assert one.result is not None and one.result.error == f"{type(answer).__name__}: {answer}"
        assert one.sample_requests() == one.score_requests() == []
        one.take_values(0, ValueError("again"))
        assert "again" not in one.result.error


def test_a_proposal_carries_what_was_spent_when_it_was_there() -> None:
    one = start(0, make_problem(), Rules(make_config(k=4), Budget(12, 9, 9), 7, 5, 9))
    one.sample_requests()
    line, cut, other = Step("a\n", 2), Step("b", 3), Step("c\n", 4)
    drawn = [Sample((line,), "steps"), Sample((cut,), "length"), Sample((other,), "steps", 1)]
    one.take_samples(0, [*drawn, Sample((other,), "steps")])
    assert one.answers == [[Proposed(line, 2), Proposed(other, 10)]]  # the last one did not fit
    assert one.ledger.policy_tokens == 12


def test_a_rollout_carries_what_was_spent_when_it_was_there() -> None:
    one = slot(Budget(12, 9, 9), algorithm="best_of_n", n=4)
    one.sample_requests()
    line, end, other = Step("a\n", 2), Step("x", 2, ended=True), Step("y", 2, ended=True)
    drawn = [Sample((line,), "length"), Sample((line, end), "end"), Sample((other,), "end", 3)]
    one.take_samples(0, [*drawn, Sample((line, end), "end")])
    assert one.answers == [[Drawn((line, end), 6), Drawn((other,), 11)]]  # the last one did not fit
    assert one.ledger.policy_tokens == 12


def test_a_record_that_cannot_be_written_ends_its_search_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*given: object) -> None:
        raise ValueError("no such place")

    monkeypatch.setattr(module, "compact", broken)
    one = slot(algorithm="best_of_n", n=1)
    one.sample_requests()
    one.take_samples(0, [Sample((Step("c", 2, ended=True),), "end")])
    one.advance()
    one.score_requests()
    one.take_values(0, [0.5])
    one.advance()
    assert one.result is not None and one.result.error == "ValueError: no such place"
    assert (one.result.stop_reason, one.result.policy_tokens) == ("error", 2)


def test_whole_steps_leave_out_a_cut_off_last_step() -> None:
    line, cut, end, rule = Step("a\n", 2), Step("a", 1), Step("a", 2, ended=True), StepRule()
    assert whole_steps(Sample((line, cut), "length"), rule) == (line,)
    assert whole_steps(Sample((line, line), "length"), rule) == (line, line)
    assert whole_steps(Sample((line, end), "end"), rule) == (line, end)
    assert whole_steps(Sample((), "length"), rule) == ()


def test_a_step_of_so_many_tokens_is_not_whole_for_a_newline_in_it() -> None:
    rule = StepRule(newline=False, tokens=4)
    full, cut, end = Step("a\nb", 4), Step("c\nd", 3), Step("e\n", 2, ended=True)
    assert whole_steps(Sample((full, cut), "length"), rule) == (full,)
    assert whole_steps(Sample((full, full), "length"), rule) == (full, full)
    assert whole_steps(Sample((full, end), "end"), rule) == (full, end)


def test_a_search_of_programs_drops_a_step_that_the_token_limit_cut_off() -> None:
    problem = Problem("mbpp", "Write a function.\n", "{}", "test")
    one = start(0, problem, Rules(make_config(k=2, lam=0.0), AMPLE, 7, 32, 96))
    one.sample_requests()
    full, cut = Step("def f(x):\n    y", mbpp.STEP_TOKENS), Step("def f(x):\n", 10)
    one.take_samples(0, [Sample((full,), "steps"), Sample((cut,), "length")])
    assert one.answers == [[Proposed(full, mbpp.STEP_TOKENS)]]
    assert one.ledger.policy_tokens == mbpp.STEP_TOKENS + 10


def test_a_smaller_limit_of_steps_makes_shorter_steps_of_programs() -> None:
    problem = Problem("mbpp", "Write a function.\n", "{}", "test")
    one = start(0, problem, Rules(make_config(k=2, lam=0.0), AMPLE, 7, 10, 96))
    one.sample_requests()
    full, cut = Step("def f(x):\n", 10), Step("def f(x):\n", 9)
    one.take_samples(0, [Sample((full,), "length"), Sample((cut,), "length")])
    assert one.answers == [[Proposed(full, 10)]]


def test_episode_ends_at_the_first_terminal_state() -> None:
    problem = make_problem()
    root = State(problem)
    line, end = Step("a\n", 2), Step("b", 2, ended=True)
    assert episode(problem, root, [line, end, line]) == (line, end)
    assert episode(problem, root, [line, line]) == ()
