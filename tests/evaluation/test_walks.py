from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from qstar_core.config import RunConfig, SearchConfig
from qstar_core.evaluation.run import evaluate
from qstar_core.evaluation.walks import kept, walked
from qstar_core.search import Budget, beam, dvts, mcts
from tests.evaluation.examples import NoisyPlayer, NoisyValue, held_out


def rows(algorithm: str, tokens: int, **fields: Any) -> list[dict[str, Any]]:
    """The stored searches of some problems."""
    method = SearchConfig.model_validate({"name": "m", "algorithm": algorithm, **fields})
    given = NoisyPlayer(), NoisyValue(), RunConfig(), lambda *_: None
    table, _ = evaluate(held_out()[:6], method, *given, None, Budget(tokens, 10_000, 10_000))
    found: list[dict[str, Any]] = table.to_pylist()
    return found


@pytest.mark.parametrize("rule", ["puct", "uct"])
@pytest.mark.parametrize("tokens", [150, 800])
def test_the_statistics_of_mcts_follow_from_the_tree(
    monkeypatch: pytest.MonkeyPatch, rule: str, tokens: int
) -> None:
    """They are those that the search itself had when it ended."""
    roots: dict[str, mcts.Branch] = {}
    back_up = mcts.back_up

    def note(path: list[mcts.Branch], value: float) -> None:
        roots[path[0].node.state.problem.prompt] = path[0]
        back_up(path, value)

    monkeypatch.setattr(mcts, "back_up", note)
    for row in rows("mcts", tokens, n=4, exploration_rule=rule):
        found = walked(row["nodes"])
        stack, seen = list(roots[row["prompt"]].branches), 0
        while stack:
            branch = stack.pop()
            stack += branch.branches
            action = found[branch.node.id]
            assert action.visits == branch.visits
            assert action.value == pytest.approx(branch.total / branch.visits)
            assert action.prior == pytest.approx(branch.prior)
            seen += 1
        assert seen == len(row["nodes"]) - 1


def test_without_log_probabilities_there_is_no_prior() -> None:
    [row, *_] = rows("mcts", 400)
    bare = [{k: v for k, v in node.items() if k != "logprob"} for node in row["nodes"]]
    assert all(action.prior is None for action in walked(bare).values())


@pytest.mark.parametrize(("algorithm", "module"), [("beam", beam), ("dvts", dvts)])
def test_what_beams_kept_is_what_they_extended(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, module: Any
) -> None:
    extended: dict[str, set[int]] = {}
    extend = module.extend

    def note(nodes: Sequence[Any], tree: Any, *rest: Any) -> Any:
        extended.setdefault(tree.problem.prompt, set()).update(node.id for node in nodes)
        return extend(nodes, tree, *rest)

    monkeypatch.setattr(module, "extend", note)
    for row in rows(algorithm, 10_000, width=2, n=3):
        assert kept(row) == extended[row["prompt"]]
        assert kept({**row, "exchanges": None}) - {-1} <= kept(row)
