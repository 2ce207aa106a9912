"""Searches against a plain exhaustive enumeration, on countdown with the exact Q*.

The policy is a script: in each state it writes all legal lines and some false ones, in an order of
its own. What a search can guarantee when it sees every action and Q is exact:

* A* (both heuristics): an optimum in f at its first finished trajectory, since f = min R_P + Q*
  never falls short of what can still be reached; its first N are the N largest. As f is exact
  here, it expands no more on the way to the first than any search. Best-first: an optimum in Q
  alone.
* Beam search and DVTS: an optimum where the problem can be solved, or where Q alone is ranked (all
  that is left is then worth nothing). A beam as wide as there are states: always.
* MCTS: an optimum once every action is closed; an earlier end may come at a worse trajectory.
* Greedy, best-of-N and self-consistency sample and guarantee nothing: not tested here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qstar_core.config import SearchConfig
from qstar_core.domains import countdown
from qstar_core.grading import Outcome
from qstar_core.mdp import Problem, Step
from qstar_core.policies import Sample, SampleRequest
from qstar_core.search.driver import run
from qstar_core.search.trace import SearchResult
from tests.search.trees import AMPLE

FALSE_LINES = 2
Numbers = tuple[Fraction, ...]
small = st.integers(1, 6)
three = st.lists(small, min_size=3, max_size=3)
four = st.lists(small, min_size=4, max_size=4)
targets = st.integers(1, 30)
seeds = st.integers(0, 999)


def claimed(text: str) -> tuple[Numbers, int]:
    """The numbers that remain by what the last line says, true or false, and the target."""
    left, _, target = text.splitlines()[-1].split("|")[-1].partition(">")
    return countdown.ordered([Fraction(n) for n in left.split()]), int(target)


class Script:
    """Writes all legal lines and some false ones, the i-th sample the i-th of them."""

    fingerprint = "script"
    batch_independent = True

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def lines(self, text: str) -> list[tuple[str, Numbers, bool]]:
        """Text, what it claims to leave, and whether it is legal in the claimed state."""
        numbers, target = claimed(text)
        legal = [
            (countdown.line(*move, target), move[3], True) for move in countdown.moves(numbers)
        ]
        rng = random.Random(f"{self.seed} {text}")
        false = [self.false_line(numbers, target, rng) for _ in range(FALSE_LINES)]
        every = [*legal, *dict.fromkeys(false)]
        rng.shuffle(every)
        return every

    @staticmethod
    def false_line(numbers: Numbers, target: int, rng: random.Random) -> tuple[str, Numbers, bool]:
        left, right, *rest = rng.sample(numbers, len(numbers))
        value = left + right + rng.randint(1, 3)
        after = countdown.ordered([*rest, value])
        return f"{left} + {right} = {value} | {countdown.show(after, target)}", after, False

    def sample(
        self, requests: Sequence[SampleRequest], done: Callable[[int, int], None] | None = None
    ) -> list[list[Sample]]:
        answers = []
        for request in requests:
            assert request.max_steps == 1
            every = self.lines(request.text)
            steps = [
                Step(text + ("\n" if len(after) > 1 else ""), 10, -1.0, len(after) == 1)
                for text, after, _ in every
            ]
            assert len(request.seeds) >= len(steps)  # k lets every action be seen
            chosen = [steps[i % len(steps)] for i in range(len(request.seeds))]
            answers.append([Sample((step,), "steps") for step in chosen])
        return answers


class ExactValue:
    """Q* of the last line of a text."""

    fingerprint = "exact"

    def score(self, texts: Sequence[str], ended: Sequence[bool]) -> list[float]:
        return [self.q(text) for text in texts]

    @staticmethod
    @lru_cache(maxsize=100_000)
    def q(text: str) -> float:
        prompt, _, lines = text.partition("\n")
        left, _, target = prompt.partition(">")
        problem = countdown.make_problem([int(n) for n in left.split()], int(target))
        return countdown.q_star(problem, lines.splitlines())[-1]


def best_f(script: Script, text: str, legal: bool, rules: bool) -> float:
    """The largest f of all trajectories that go on from a text: every one is looked at."""
    numbers, target = claimed(text)
    if len(numbers) == 1:
        reward = float(legal and numbers[0] == target)
        return reward + (float(legal) if rules else 0.0)
    return max(
        best_f(script, f"{text}{line}\n", legal and true, rules)
        for line, _, true in script.lines(text)
    )


def every_f(script: Script, text: str, legal: bool) -> list[float]:
    """f = min R_P + Q of all trajectories that go on from a text."""
    numbers, target = claimed(text)
    if len(numbers) == 1:
        return [float(legal) + float(legal and numbers[0] == target)]
    lines = {line: legal and true for line, _, true in script.lines(text)}
    return [f for line, so in lines.items() for f in every_f(script, f"{text}{line}\n", so)]


def search(problem: Problem, script: Script, **fields: Any) -> SearchResult:
    config = SearchConfig.model_validate({"name": "m", "k": 40, "n": 1, **fields})
    [result] = run([problem], config, AMPLE, script, ExactValue(), run_seed=0)
    assert result.error == ""
    return result


def check(numbers: list[int], target: int, seed: int, **fields: Any) -> SearchResult:
    """Searches, and compares what is found with the exhaustive enumeration."""
    problem, script = countdown.make_problem(numbers, target), Script(seed)
    rules = fields.get("reward") == "rules" and fields["algorithm"] != "best_first"
    optimum = best_f(script, problem.prompt, True, rules)
    result = search(problem, script, **fields)
    assert result.best is not None
    assert result.best.score == optimum
    outcome = countdown.grade(problem, [step.text for step in result.best.state.steps]).outcome
    assert (outcome is Outcome.CORRECT) is (optimum == (2.0 if rules else 1.0))
    return result


INFORMED = [
    {"algorithm": "astar"},
    {"algorithm": "astar", "heuristic": "lookahead"},
    {"algorithm": "astar", "merge": "state"},
    {"algorithm": "astar", "reopen": True},
    {"algorithm": "best_first"},
]
RANKED = [{"algorithm": "beam", "width": 1}, {"algorithm": "beam"}, {"algorithm": "dvts"}]


@pytest.mark.parametrize("fields", INFORMED, ids=str)
@pytest.mark.parametrize("reward", ["rules", "none"])
@settings(max_examples=25, deadline=None)
@given(numbers=three, target=targets, seed=seeds)
def test_informed_searches_of_three_numbers(
    fields: dict[str, Any], reward: str, numbers: list[int], target: int, seed: int
) -> None:
    check(numbers, target, seed, reward=reward, **fields)


@pytest.mark.parametrize("fields", INFORMED, ids=str)
@settings(max_examples=5, deadline=None)
@given(numbers=four, target=targets, seed=seeds)
def test_informed_searches_of_four_numbers(
    fields: dict[str, Any], numbers: list[int], target: int, seed: int
) -> None:
    check(numbers, target, seed, reward="rules", **fields)


@pytest.mark.parametrize("fields", [*INFORMED, *RANKED], ids=str)
@settings(max_examples=15, deadline=None)
@given(numbers=four, target=targets, seed=seeds)
def test_four_numbers_are_solved_wherever_they_can_be(
    fields: dict[str, Any], numbers: list[int], target: int, seed: int
) -> None:
    """The exact Q* knows at once whether there is a solution, so nothing needs enumerating."""
    problem = countdown.make_problem(numbers, target)
    assume(countdown.solvable(*countdown.start(problem)))
    result = search(problem, Script(seed), reward="rules", **fields)
    assert result.best is not None
    assert result.best.score == (1.0 if fields["algorithm"] == "best_first" else 2.0)


@pytest.mark.parametrize("fields", RANKED, ids=str)
@settings(max_examples=25, deadline=None)
@given(numbers=three, target=targets, seed=seeds)
def test_beams_on_q_alone(
    fields: dict[str, Any], numbers: list[int], target: int, seed: int
) -> None:
    check(numbers, target, seed, reward="none", **fields)


@settings(max_examples=25, deadline=None)
@given(numbers=three, target=targets, seed=seeds)
def test_a_beam_as_wide_as_there_are_states(numbers: list[int], target: int, seed: int) -> None:
    check(numbers, target, seed, reward="rules", algorithm="beam", width=10**6)


@pytest.mark.parametrize("rule", ["puct", "uct"])
@settings(max_examples=15, deadline=None)
@given(numbers=three, target=targets, seed=seeds)
def test_mcts_that_is_walked_to_the_end(
    rule: str, numbers: list[int], target: int, seed: int
) -> None:
    fields = {"algorithm": "mcts", "n": 10**6, "exploration_rule": rule}
    result = check(numbers, target, seed, reward="rules", **fields)
    assert result.stop_reason == "exhausted"


def expansions_until(result: SearchResult, optimum: float) -> int:
    """States expanded before the first trajectory with so large an f = min R_P + Q was finished."""
    count = 0
    for node in sorted((n for n in result.nodes if n.order >= 0), key=lambda n: n.order):
        steps = [step.text for step in node.state.steps]
        if not node.terminal:
            count += 1
        elif min(countdown.rule_rewards(result.problem, steps)) + (node.q or 0.0) == optimum:
            return count
    raise AssertionError("it was not found")


def both_until_the_optimum(numbers: list[int], target: int, seed: int) -> tuple[int, int]:
    """Expansions of A* and of best-first until they have finished an optimum in f."""
    problem, script = countdown.make_problem(numbers, target), Script(seed)
    optimum = best_f(script, problem.prompt, True, True)
    fields: dict[str, Any] = {"reward": "rules", "n": 10**6}
    star = search(problem, script, algorithm="astar", **fields)
    best = search(problem, script, algorithm="best_first", **fields)
    return expansions_until(star, optimum), expansions_until(best, optimum)


@settings(max_examples=25, deadline=None)
@given(numbers=three, target=targets, seed=seeds)
def test_astar_goes_straight_to_an_optimum_and_best_first_takes_no_fewer_expansions(
    numbers: list[int], target: int, seed: int
) -> None:
    """With the legality of lines as R_P f is exact, also where a problem has no solution."""
    star, best = both_until_the_optimum(numbers, target, seed)
    assert star == len(numbers) - 1 <= best


def test_best_first_wanders_among_false_lines_where_there_is_no_solution() -> None:
    """All Q are 0 then, and only R_P tells the lines that are true."""
    found = [both_until_the_optimum([6, 4, 1], 29, seed) for seed in range(12)]
    assert not countdown.solvable(*countdown.start(countdown.make_problem([6, 4, 1], 29)))
    assert {star for star, _ in found} == {2}
    assert max(best for _, best in found) > 2


@settings(max_examples=25, deadline=None)
@given(numbers=three, target=targets, seed=seeds, n=st.integers(2, 30))
def test_astar_finishes_the_n_largest_f(numbers: list[int], target: int, seed: int, n: int) -> None:
    problem, script = countdown.make_problem(numbers, target), Script(seed)
    result = search(problem, script, algorithm="astar", reward="rules", n=n)
    every = sorted(every_f(script, problem.prompt, True), reverse=True)
    assert [trajectory.score for trajectory in result.finished] == every[:n]


def test_the_enumeration_on_a_problem_worked_by_hand() -> None:
    """2 3 > 6 has one solution; a false line never counts, not even one that ends in the target."""
    script = Script(0)
    texts = {line.split(" |")[0] for line, _, legal in script.lines("3 2 > 6\n") if legal}
    assert texts == {"3 + 2 = 5", "3 - 2 = 1", "3 * 2 = 6", "3 / 2 = 3/2", "2 / 3 = 2/3"}
    assert best_f(script, "3 2 > 6\n", True, rules=True) == 2.0
    assert best_f(script, "3 2 > 6\n", False, rules=True) == 0.0
    assert best_f(script, "3 2 > 7\n", True, rules=True) == 1.0
    assert best_f(script, "3 2 > 7\n", True, rules=False) == 0.0
