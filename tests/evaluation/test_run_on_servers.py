"""An evaluation on a policy behind a real HTTP server: searches go on by themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from qstar_core.config import (
    CountdownRanges,
    EvaluationConfig,
    PolicyConfig,
    RunConfig,
    SearchConfig,
    ServerConfig,
)
from qstar_core.domains import countdown_problems
from qstar_core.errors import EngineUnavailable
from qstar_core.evaluation.run import evaluate
from qstar_core.policies.server import ServerPolicy
from tests.completions_server import Fault, Script, serving
from tests.evaluation.examples import NoisyValue

PROBLEMS = countdown_problems.generate("test", 20, CountdownRanges(numbers=(4,)), seed=5)
STAR = SearchConfig(name="A*", algorithm="astar", k=3, n=2)
ACTIVE = 5


@contextmanager
def served(script: Script, **settings: Any) -> Iterator[ServerPolicy]:
    with serving(script) as url:
        server = ServerConfig.model_validate({"urls": [url], "model": "tiny", **settings})
        policy = ServerPolicy(PolicyConfig(backend="server", dtype="float32", server=server))
        try:
            yield policy
        finally:
            policy.close()


def search(policy: ServerPolicy, active: int = ACTIVE) -> tuple[Any, list[str]]:
    notes: list[str] = []
    limits = EvaluationConfig(methods=[STAR], baseline="A*", active=active, max_policy_tokens=120)
    config = RunConfig(evaluation=limits)
    table, _ = evaluate(
        PROBLEMS, STAR, policy, NoisyValue(), config, lambda *event: notes.append(event[3])
    )
    return table, notes


def problem_of(prompt: str) -> int:
    return next(k for k, problem in enumerate(PROBLEMS) if prompt.startswith(problem.prompt))


def overlaps(spans: Sequence[tuple[str, float, float]]) -> int:
    """Pairs of requests of different problems that were under work at the same time."""
    return sum(
        problem_of(a) != problem_of(b) and begin < end_b and begin_b < end
        for k, (a, begin, end) in enumerate(spans)
        for b, begin_b, end_b in spans[:k]
    )


def test_a_slow_search_holds_up_nobody() -> None:
    slow = PROBLEMS[0].prompt

    def pause(asked: dict[str, Any]) -> float:
        """The first search's first answer comes when others went on and began, or never would."""
        if asked["prompt"] != slow:
            return 0.002
        began, number = time.monotonic(), len(script.seen)
        while time.monotonic() < began + 60 and not went_on(script.seen[number:]):
            time.sleep(0.01)
        return 0.0

    script = Script(pause=pause)
    with served(script) as policy:
        table, notes = search(policy)
    assert table["stop_reason"].to_pylist().count("error") == 0
    assert overlaps(script.spans) > 20
    first_begin, first_end = next((b, e) for prompt, b, e in script.spans if prompt == slow)
    assert first_end - first_begin < 60
    assert any(f"{ACTIVE} active" in note for note in notes)


def went_on(asked: Sequence[dict[str, Any]]) -> bool:
    """Another search made several steps, and more searches began than may be active at once."""
    problems = [problem_of(request["prompt"]) for request in asked]
    rounds = max((problems.count(k) for k in set(problems)), default=0)
    return rounds > 3 * STAR.k and len(set(problems)) > ACTIVE


def test_rows_depend_neither_on_pauses_nor_on_how_many_are_active() -> None:
    tables = []
    for active, pause in ((1, 0.0), (7, 0.003)):
        script = Script(pause=lambda asked, pause=pause: pause * (hash(asked["prompt"]) % 3))
        with served(script) as policy:
            tables.append(search(policy, active)[0])
    assert tables[0].equals(tables[1])
    assert max(tables[0]["expansions"].to_pylist()) > 3


def test_requests_in_flight_are_limited_for_all_searches_together() -> None:
    script = Script(pause=lambda asked: 0.005)
    with served(script, concurrency=4) as policy:
        search(policy)
    moments = sorted((when, step) for _, b, e in script.spans for when, step in ((b, 1), (e, -1)))
    under_work = most = 0
    for _, step in moments:
        under_work += step
        most = max(most, under_work)
    assert 2 <= most <= 4


def test_a_prompt_that_is_refused_fails_alone() -> None:
    bad = PROBLEMS[3].prompt
    refusal = Fault("status", 400, said="no")
    script = Script()
    script.plan = lambda number: refusal if script.seen[number]["prompt"].startswith(bad) else None
    with served(script) as policy:
        table, _ = search(policy)
    errors = [reason for reason in table["stop_reason"].to_pylist() if reason == "error"]
    assert errors == ["error"]
    assert table["stop_reason"].to_pylist()[3] == "error" and "no" in table["reason"][3].as_py()


def test_a_wrong_key_ends_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QSTAR_SERVER_KEY", raising=False)
    with served(Script(key="right")) as policy:
        with pytest.raises(EngineUnavailable, match="HTTP 401"):
            search(policy)
        with pytest.raises(EngineUnavailable, match="HTTP 401"):  # its loop is still usable
            search(policy)
