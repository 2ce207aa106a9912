from __future__ import annotations

from pathlib import Path

import pytest

from qstar_core.audit.samples import chunks, doubled, group, groups, search_tokens, sizes
from qstar_core.audit.source import open_labels
from qstar_core.domains import countdown
from qstar_core.grading import Grade, Outcome
from tests.audit.examples import (
    BAD,
    END,
    GOOD,
    LOSE,
    POOL_TOKENS,
    PROBLEM,
    WIN,
    Play,
    path,
    write_run,
)

OTHER = countdown.make_problem([1, 1, 4], 6)
PLAYS: list[Play] = [[GOOD, WIN], [BAD, END], [GOOD, LOSE], [GOOD, WIN]]


@pytest.fixture
def labels(tmp_path: Path) -> str:
    states = [
        path(PROBLEM, play, k, source="states", prefix_steps=1)
        for play in ([GOOD, WIN], [BAD, END])
        for k in range(2)
    ]
    tree = [path(PROBLEM, [BAD, END], k, source="mcts", prefix_steps=1) for k in range(3)]
    pools = {"states": states, "mcts": tree}
    return write_run(tmp_path, {PROBLEM: PLAYS, OTHER: [[GOOD, WIN]]}, pools=pools)


def test_sizes_are_those_of_each_source(labels: str) -> None:
    assert sizes(open_labels(labels)) == {"rollouts": 4, "states": 2, "mcts": 3}


def test_chunks_are_whole_problems_with_their_pools(labels: str) -> None:
    found = list(chunks(open_labels(labels), {p.id: p for p in (PROBLEM, OTHER)}))
    assert [len(chunk) for chunk in found] == [4 + 4 + 3, 1]
    assert found[0]["branch"].null_count() == 4 + 3
    assert [len(chunk) for chunk in chunks(open_labels(labels), {OTHER.id: OTHER})] == [1]


def test_paths_are_graded_as_today(labels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(countdown, "GRADER_VERSION", "tomorrow")
    monkeypatch.setattr(countdown, "grade", lambda problem, steps: Grade(Outcome.TIMEOUT, ""))
    found = next(chunks(open_labels(labels), {PROBLEM.id: PROBLEM}))
    assert found["outcome"].unique().to_list() == ["timeout"]
    assert found["grader_version"].unique().to_list() == ["tomorrow"]
    assert found["branch"].null_count() == 4 + 3


def test_the_tokens_of_a_search_are_those_of_its_manifest(labels: str) -> None:
    assert search_tokens(open_labels(labels), 2) == POOL_TOKENS / 2


@pytest.mark.parametrize(
    ("n", "number", "roots", "continued"),
    [(1, 0, 1, [GOOD]), (1, 1, 1, [BAD]), (2, 0, 2, [GOOD, GOOD, BAD, BAD]), (2, 1, 2, [])],
)
def test_a_group_has_the_continuations_of_the_states_it_visited(
    labels: str, n: int, number: int, roots: int, continued: list[str]
) -> None:
    paths = next(chunks(open_labels(labels), {PROBLEM.id: PROBLEM}))
    drawn = group(paths, n, number)
    counts = drawn["source"].to_list()
    assert counts.count("rollouts") == roots
    first = drawn.filter(drawn["source"] == "states")["steps"].to_list()
    assert [steps[0]["text"] for steps in first] == continued
    assert "branch" not in drawn.columns


@pytest.mark.parametrize(("samples", "expected"), [(1, [1]), (8, [1, 2, 4, 8]), (6, [1, 2, 4, 6])])
def test_samples_are_doubled(samples: int, expected: list[int]) -> None:
    assert doubled(samples) == expected


@pytest.mark.parametrize(
    ("n", "used", "expected"),
    [
        (1, ["rollouts"], 16),
        (4, ["rollouts", "states"], 2),
        (16, ["rollouts", "states"], 1),
        (4, ["rollouts", "binary_search"], 4),
        (1, ["rollouts", "mcts"], 1),
    ],
)
def test_all_sources_of_a_method_must_have_a_group(n: int, used: list[str], expected: int) -> None:
    assert groups(n, used, {"rollouts": 16, "states": 8, "mcts": 40}) == expected
