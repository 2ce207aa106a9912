"""A stored search goes the same way again with nothing but its record."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.config import SearchConfig
from qstar_core.domains import DOMAINS
from qstar_core.errors import UserError
from qstar_core.evaluation.exchanges import EXCHANGES
from qstar_core.evaluation.run import NODE
from qstar_core.mdp import Problem, State, Step
from qstar_core.search import ALGORITHMS, Ledger, SearchResult, Tree
from qstar_core.search.budget import Budget
from qstar_core.search.driver import run
from qstar_core.search.record import compact, exchange
from qstar_core.search.replay import differences, replay
from qstar_core.search.requests import Drawn, Propose, Proposed, Rollout, Score
from tests.search import trees
from tests.search.variants import VARIANTS, name

Q = trees.make_problem()
limits = st.tuples(st.integers(1, 60), st.integers(1, 30), st.integers(1, 10))
MORE: list[dict[str, Any]] = [
    *VARIANTS,
    {"algorithm": "astar", "lam": 0.0},
    {"algorithm": "astar", "reward": "logprob", "aggregation": "sum"},
    {"algorithm": "astar", "reopen": True, "reward": "prm"},
    {"algorithm": "astar", "reopen": True, "heuristic": "lookahead", "merge": "state"},
    {"algorithm": "best_of_n", "lam": 0.0},
    {"algorithm": "astar", "reward": "prm"},
    {"algorithm": "astar", "heuristic": "lookahead", "reward": "prm"},
    {"algorithm": "beam", "width": 2, "reward": "prm"},
    {"algorithm": "mcts", "reward": "prm"},
    {"algorithm": "best_of_n", "reward": "prm"},
    {"algorithm": "greedy", "temperature": 0.0, "reward": "prm"},
]


def search(tree: trees.Tree, config: SearchConfig, budget: Budget = trees.AMPLE) -> SearchResult:
    value = trees.TableValue((Q, tree))
    policy = trees.make_policy((Q, tree))
    [result] = run([Q], config, budget, policy, value, run_seed=1, prm=value)
    assert result.error == ""
    return result


def stored(result: SearchResult, config: SearchConfig) -> dict[str, Any]:
    """The row of a search after it has been in a Parquet file."""
    nodes = [{"node": node.id, **node.to_dict()} for node in result.nodes]
    schema = pa.schema([("nodes", pa.list_(NODE)), ("exchanges", EXCHANGES)])
    rows = [{"nodes": nodes, "exchanges": result.exchanges}]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    [back] = pq.read_table(file).to_pylist()
    return {
        **back,
        "prompt": result.problem.prompt,
        "reference": result.problem.reference,
        "method": config.name,
        "reason": result.error,
        "steps": [step.text for step in result.best.state.steps] if result.best else [],
        "score": result.best.score if result.best else None,
        "policy_tokens": result.policy_tokens,
        "value_calls": result.value_calls,
        "expansions": result.expansions,
        "stop_reason": result.stop_reason,
    }


@pytest.mark.parametrize("variant", MORE, ids=name)
@settings(max_examples=40, deadline=None)
@given(tree=trees.trees(), k=st.integers(1, 5), n=st.integers(1, 9), limits=limits)
def test_a_trace_replays_to_the_same_answer(
    variant: dict[str, Any], tree: trees.Tree, k: int, n: int, limits: tuple[int, int, int]
) -> None:
    config = trees.make_config(**{"k": k, "n": n, "reward": "rules", **variant})
    result = search(tree, config, Budget(*limits))
    row = stored(result, config)
    again = replay(row, config, "toy")
    assert again == result
    assert differences(row, again) == []


@pytest.mark.parametrize("variant", MORE, ids=name)
def test_a_trace_replays_with_an_ample_budget(variant: dict[str, Any]) -> None:
    config = trees.make_config(**{"k": 4, "n": 5, "reward": "rules", **variant})
    result = search(trees.EXAMPLE, config)
    assert replay(stored(result, config), config, "toy") == result


def test_nothing_but_lookahead_leaves_steps_that_are_no_nodes() -> None:
    tree: trees.Tree = {"a\n": {"x\n": {"U": 1.0}}, "b\n": {"y\n": {"V": 0.5}, "W": 0.25}}
    for variant in VARIANTS:
        config = trees.make_config(**{"n": 1, **variant})
        record = search(tree, config).exchanges
        assert record is not None
        left = ["y\n"] if variant.get("heuristic") == "lookahead" else []
        assert [entry["text"] for entry in record["unused"]] == left


def test_the_record_names_states_and_answers_by_their_numbers() -> None:
    config = trees.make_config()
    result = search(trees.EXAMPLE, config)
    record = result.exchanges
    assert record is not None
    limits = dict.fromkeys(("policy_tokens", "value_calls", "expansions"), 10**6)
    assert record["budget"] == {**limits, "seconds": None}
    assert all(turn["seconds"] is None for turn in record["rounds"])
    first, second = record["rounds"][:2]
    [asked] = first["requests"]
    assert (asked["kind"], asked["node"], asked["asked"]) == ("propose", 0, 40)
    assert len(asked["answers"]) == 40 and set(asked["answers"]) == {1, 2, 3}
    assert (first["policy_tokens"], first["value_calls"], first["expansions"]) == (80, 0, 1)
    [judged] = second["requests"]
    assert (judged["kind"], judged["answers"]) == ("score", [1, 2, 3])
    assert judged["values"] == [node.q for node in result.nodes[1:4]]


def test_a_state_that_was_sampled_again_replays() -> None:
    config = trees.make_config(k=4, n=100, reopen=True)
    result = search(trees.EXAMPLE, config)
    record = result.exchanges
    assert record is not None
    asked = [request for turn in record["rounds"] for request in turn["requests"]]
    root = [r["answers"] for r in asked if r["kind"] == "propose" and r["node"] == 0]
    assert len(root) > 1 and any(set(later) & set(root[0]) for later in root[1:])
    row = stored(result, config)
    again = replay(row, config, "toy")
    assert again == result and differences(row, again) == []
    with pytest.raises(UserError, match="logged"):
        replay(row, trees.make_config(k=4, n=100), "toy")


def test_samples_that_repeat_a_text_keep_their_own_tokens() -> None:
    """An engine may write one text in other tokens; best-of-N stamps nodes with what was paid."""
    config = trees.make_config(algorithm="best_of_n", n=3, lam=0.0)
    budget = Budget(99, 9, 9)
    ledger, log = Ledger(budget), []
    searching = ALGORITHMS["best_of_n"](Q, config, ledger)
    asked = next(searching)
    paths = [(Step("a", 2, -1.0, True),), (Step("a", 5, -1.0, True),), (Step("b", 2, -2.0, True),)]
    ledger.charge_tokens(12)  # one that cost 3 was dropped before the last
    drawn = [Drawn(path, spent) for path, spent in zip(paths, (2, 7, 12), strict=True)]
    log.append(exchange(asked, [drawn], ledger))
    with pytest.raises(StopIteration) as stop:
        searching.send([drawn])
    result: SearchResult = stop.value.value
    record = compact(log, result.nodes, budget)
    assert [entry["step_tokens"] for entry in record["unused"]] == [5]
    assert [turn["requests"][0]["spent"] for turn in record["rounds"]] == [[2, 7, 12]]
    assert [node.tokens for node in result.nodes] == [0, 2, 12]
    nodes = [{"node": node.id, **node.to_dict()} for node in result.nodes]
    row = {**stored(result, config), "nodes": nodes, "exchanges": record}
    assert replay(row, config, "toy") == result


def test_any_request_can_be_recorded() -> None:
    """Also of states that never became nodes, such as the middle of a rollout."""
    tree = Tree(Q, trees.make_config())
    tree.add(tree.root, Step("a\n", 2))
    a, b, end = Step("a\n", 2), Step("b\n", 2), Step("c", 2, ended=True)
    root, middle = State(Q), State(Q, (a, b))
    log = [
        exchange([Rollout(root, 2)], [[Drawn((a, b, end), 6)]], Ledger(trees.AMPLE)),
        exchange(
            [Propose(middle, 1), Score(middle, (end,))],
            [[Proposed(end, 8)], [0.5]],
            Ledger(trees.AMPLE),
        ),
    ]
    record = compact(log, tree.nodes, trees.AMPLE)
    assert [(u["node"], u["parent"], u["text"]) for u in record["unused"]] == [
        (2, 1, "b\n"),
        (3, 2, "c"),
    ]
    [rolled], [proposed, judged] = (turn["requests"] for turn in record["rounds"])
    assert (rolled["node"], rolled["answers"], rolled["spent"]) == (0, [3], [6])
    assert (proposed["node"], proposed["answers"], proposed["spent"]) == (2, [3], [8])
    assert (judged["node"], judged["answers"], judged["values"]) == (2, [3], [0.5])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": 7}, "in round 1 it asks for propose 7 after 'the question'"),
        ({"algorithm": "best_of_n", "n": 3}, "in round 1 it asks for rollout 3"),
        ({"lam": 0.0}, "in round 2 it asks for propose 40 after"),
        ({"heuristic": "lookahead"}, "in round 3 it asks for propose 40"),
    ],
)
def test_another_configuration_is_noticed(changed: dict[str, Any], message: str) -> None:
    config = trees.make_config()
    row = stored(search(trees.EXAMPLE, config), config)
    with pytest.raises(UserError) as caught:
        replay(row, trees.make_config(**changed), "toy")
    assert "does not go the way that is logged" in caught.value.what
    assert message in caught.value.what
    assert caught.value.next_step and caught.value.safe


@pytest.mark.parametrize("algorithm", ["best_of_n", "astar"])
def test_samples_without_the_tokens_that_were_spent_by_then_are_not_replayed(
    algorithm: str,
) -> None:
    """So are the searches of versions that did not log them for proposals."""
    config = trees.make_config(algorithm=algorithm, n=3)
    row = stored(search(trees.EXAMPLE, config), config)
    row["exchanges"]["rounds"][0]["requests"][0]["spent"] = []
    with pytest.raises(UserError, match="tokens spent by each sample, which are not logged"):
        replay(row, config, "toy")


@pytest.mark.parametrize("algorithm", ["best_of_n", "self_consistency"])
@settings(max_examples=40, deadline=None)
@given(tree=trees.trees(), n=st.integers(1, 12), longest=st.integers(2, 6), left=st.integers(1, 80))
def test_rollouts_that_were_cut_off_replay_with_their_stamps(
    algorithm: str, tree: trees.Tree, n: int, longest: int, left: int
) -> None:
    config, value = trees.make_config(algorithm=algorithm, n=n), trees.TableValue((Q, tree))
    limits = Budget(left, 10**6, 10**6)
    given = trees.make_policy((Q, tree)), value
    [result] = run([Q], config, limits, *given, run_seed=1, max_new_tokens=longest)
    nodes = [{"node": node.id, **node.to_dict()} for node in result.nodes]
    bare = {**stored(result, config), "nodes": nodes, "exchanges": result.exchanges}
    for row in (bare, stored(result, config)):
        again = replay(row, config, "toy")
        assert again == result and differences(row, again) == []


def test_a_search_that_goes_on_or_ends_sooner_is_noticed() -> None:
    few, many = trees.make_config(n=1), trees.make_config(n=100)
    for there, now, message in ((few, many, "goes on after"), (many, few, "ends after")):
        row = stored(search(trees.EXAMPLE, there), there)
        with pytest.raises(UserError, match=message):
            replay(row, now, "toy")


def test_a_changed_rule_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    config = trees.make_config(reward="rules", n=2)
    row = stored(search(trees.EXAMPLE, config), config)
    monkeypatch.setattr(DOMAINS["toy"], "rule_rewards", lambda problem, steps: [0.5] * len(steps))
    found = differences(row, replay(row, config, "toy"))
    assert any("g 0.5" in line and "stored" in line for line in found)


def test_a_search_that_failed_leaves_nothing_to_replay() -> None:
    stranger = Problem("nowhere", "q0\n", "{}")
    policy, value = trees.make_policy(), trees.TableValue()
    [result] = run([stranger], trees.make_config(), trees.AMPLE, policy, value, run_seed=1)
    assert result.stop_reason == "error" and result.exchanges is None
    with pytest.raises(UserError, match="left nothing to replay on this problem: KeyError"):
        replay(stored(result, trees.make_config()), trees.make_config(), "toy")


def test_how_it_was_asked_is_no_part_of_what_was_found() -> None:
    config = trees.make_config()
    one, other = search(trees.EXAMPLE, config), search(trees.EXAMPLE, config)
    assert other.exchanges is not None
    other.exchanges.clear()
    assert one == other


def test_a_budget_that_seconds_ended_ends_in_the_replay_too() -> None:
    budget = Budget(10**6, 10**6, 10**6, seconds=0.5)
    config, ledger = trees.make_config(n=2), Ledger(budget)
    searching = ALGORITHMS["astar"](Q, config, ledger)
    steps = [Step("a\n", 2), Step("b\n", 2), Step("c", 2, ended=True)]
    asked, log = next(searching), []
    proposed = [Proposed(step, 2 * place) for place, step in enumerate(steps, start=1)]
    turns: list[tuple[list[Any], float]] = [([proposed], 0.25), ([[0.5, 1.0, 0.75]], 0.75)]
    with pytest.raises(StopIteration) as stop:
        for answers, ledger.seconds in turns:
            log.append(exchange(asked, answers, ledger))
            asked = searching.send(answers)
    result: SearchResult = stop.value.value
    assert (result.stop_reason, len(result.finished)) == ("budget", 1)
    record = compact(log, result.nodes, budget)
    assert [(turn["seconds"], turn["over"]) for turn in record["rounds"]] == [
        (0.25, False),
        (0.75, True),
    ]
    nodes = [{"node": node.id, **node.to_dict()} for node in result.nodes]
    row = {**stored(result, config), "nodes": nodes, "exchanges": record}
    assert replay(row, config, "toy") == result


def test_scores_of_another_model_are_told_apart() -> None:
    tree, end = Tree(Q, trees.make_config()), Step("c", 2, ended=True)
    tree.add(tree.root, end)
    asked = [Score(tree.root.state, (end,)), Score(tree.root.state, (end,), "prm")]
    log = [exchange(list(asked), [[0.5], [0.25]], Ledger(trees.AMPLE))]
    [turn] = compact(log, tree.nodes, trees.AMPLE)["rounds"]
    kinds = [(entry["kind"], entry["answers"], entry["values"]) for entry in turn["requests"]]
    assert kinds == [("score", [1], [0.5]), ("prm", [1], [0.25])]
