"""What a fleet does when servers fail, against real HTTP servers that fail on purpose."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from qstar_core.config import CountdownRanges, PolicyConfig, RolloutsConfig, ServerConfig
from qstar_core.domains import countdown_problems
from qstar_core.errors import EngineUnavailable, UserError
from qstar_core.policies import Sample, SampleRequest, fleet, trouble
from qstar_core.policies.server import ServerPolicy
from qstar_core.rollouts.quarantine import sample_shard
from qstar_core.rollouts.sample import sample_rollouts
from tests.completions_server import Fault, Plan, Script, free_port, serving
from tests.models import tiny_policy

KEY = "a-secret-that-must-not-show"
ASKS = [SampleRequest(f"prompt {k}", (1, 2, 3), 9, 20, 1.0) for k in range(8)]

Start = Callable[..., ServerPolicy]
Serve = Callable[[Script], str]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "BACKOFF_S", 0.02)
    monkeypatch.setattr(fleet, "PROBE_S", 0.05)
    monkeypatch.setattr(fleet, "HEALTH_TIMEOUT_S", 5.0)
    monkeypatch.delenv("QSTAR_SERVER_KEY", raising=False)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(serving(script))


@pytest.fixture
def start() -> Iterator[Start]:
    made = []

    def make(*urls: str, model: str | None = "tiny", **settings: object) -> ServerPolicy:
        server = ServerConfig.model_validate({"urls": urls, "model": model, **settings})
        config = PolicyConfig(backend="server", dtype="float32", server=server)
        made.append(ServerPolicy(config))
        return made[-1]

    yield make
    for policy in made:
        policy.close()


@pytest.fixture
def undisturbed(serve: Serve, start: Start) -> list[list[Sample]]:
    return start(serve(Script())).sample(ASKS)


def first(*faults: Fault) -> Plan:
    return lambda number: faults[number] if number < len(faults) else None


def test_samples_have_their_places(undisturbed: list[list[Sample]], serve: Serve) -> None:
    assert [len(drawn) for drawn in undisturbed] == [3] * len(ASKS)
    assert len({sample for drawn in undisturbed for sample in drawn}) > len(ASKS)
    assert {s.finish for drawn in undisturbed for s in drawn} == {"end"}


def test_equal_seeds_are_asked_once_and_greedy_samples_too(serve: Serve, start: Start) -> None:
    script = Script()
    policy = start(serve(script))
    seen: list[tuple[int, int]] = []
    greedy = SampleRequest("q", (1, 2, 3), 9, 20, 0.0)
    one, two = policy.sample(
        [SampleRequest("p", (7, 8, 7), 9, 20, 1.0), greedy],
        lambda n, tokens: seen.append((n, tokens)),
    )
    assert len(script.seen) == 3
    assert one[0] == one[2] != one[1] and two[0] == two[1] == two[2]
    assert sum(n for n, _ in seen) == 6
    assert sum(tokens for _, tokens in seen) == sum(s.tokens for s in (*one, *two))


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 500),
        Fault("status", 503),
        Fault("status", 429),
        Fault("status", 408),
        Fault("reset"),
        Fault("half"),
        Fault("page"),
        Fault("stall", seconds=1.5),
    ],
    ids=lambda fault: f"{fault.kind}{fault.status if fault.kind == 'status' else ''}",
)
def test_a_passing_failure_changes_no_sample(
    fault: Fault, serve: Serve, start: Start, undisturbed: list[list[Sample]]
) -> None:
    script = Script(lambda number: fault if number % 4 == 1 else None)
    policy = start(serve(script), concurrency=4, timeout_s=1.0 if fault.kind == "stall" else 60.0)
    assert policy.sample(ASKS) == undisturbed
    assert policy.fleet.failures.total() >= len(script.seen) - 24 > 4


def test_retry_after_is_kept(serve: Serve, start: Start) -> None:
    script = Script(first(Fault("status", 429, seconds=1.0)))
    start(serve(script), concurrency=1).sample(ASKS[:1])
    assert 1.0 <= script.times[1] - script.times[0] < 3.0


def test_who_asks_for_a_pause_is_left_alone_while_others_work(serve: Serve, start: Start) -> None:
    busy = Script(lambda number: Fault("status", 429, seconds=30.0))
    free = Script()
    begin = time.monotonic()
    start(serve(busy), serve(free), concurrency=2).sample(ASKS)
    assert time.monotonic() - begin < 20.0
    assert len(busy.seen) <= 2 and len(free.seen) == 24


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2015 07:28:00 GMT", "nonsense", "", "nan", "2.5"])
def test_ways_to_say_retry_after(value: str) -> None:
    expected = {"2.5": 2.5, "Wed, 21 Oct 2015 07:28:00 GMT": 0.0}.get(value)
    assert trouble.retry_after({"retry-after": value}) == expected


def test_pauses_grow_and_are_random_and_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "BACKOFF_S", 0.5)
    for failures in (1, 3, 50):
        drawn = [trouble.backoff(failures) for _ in range(200)]
        limit = min(30.0, 0.5 * 2.0 ** (failures - 1))
        assert 0.0 <= min(drawn) < 0.1 * limit and 0.9 * limit < max(drawn) <= limit


def test_a_server_that_is_gone_leaves_the_work_to_the_others(
    serve: Serve, start: Start, undisturbed: list[list[Sample]], caplog: pytest.LogCaptureFixture
) -> None:
    script = Script()
    policy = start(f"http://127.0.0.1:{free_port()}/v1", serve(script))
    assert policy.sample(ASKS) == undisturbed
    assert len(script.seen) == 24
    assert "is out of rotation: no connection" in caplog.text


def test_an_ill_server_goes_out_of_rotation_and_comes_back(
    serve: Serve, start: Start, undisturbed: list[list[Sample]], caplog: pytest.LogCaptureFixture
) -> None:
    ill = Script(lambda number: Fault("status", 500) if ill.ill else None, owned_by="vllm")
    policy = start(serve(ill), serve(Script()), concurrency=2)
    policy.sample(ASKS[:1])
    ill.ill = True
    before = len(ill.seen)
    assert policy.sample(ASKS) == undisturbed
    assert len(ill.seen) - before <= 2
    assert "out of rotation: HTTP 500, then HTTP 503 from /health" in caplog.text
    ill.ill = False
    while "in rotation again" not in caplog.text:
        policy.sample(ASKS)
    before = len(ill.seen)
    policy.sample(ASKS)
    assert len(ill.seen) > before


def test_a_server_that_comes_back_with_another_model_stays_out(
    serve: Serve, start: Start, undisturbed: list[list[Sample]]
) -> None:
    other = Script(lambda number: Fault("reset") if other.ill else None)
    policy = start(serve(other), serve(Script()), concurrency=2)
    policy.sample(ASKS[:1])
    other.ill = True
    policy.sample(ASKS)
    other.ill, other.models = False, ("other",)
    server = policy.fleet.servers[0]
    while server.out != "serves other now":
        assert policy.sample(ASKS) == undisturbed
    before = len(other.seen)
    assert policy.sample(ASKS) == undisturbed
    assert len(other.seen) == before


def test_no_server_at_the_start_is_said_at_once(start: Start) -> None:
    urls = [f"http://127.0.0.1:{free_port()}/v1" for _ in range(2)]
    with pytest.raises(EngineUnavailable, match="no server answers") as caught:
        start(*urls).sample(ASKS)
    assert all(url in caught.value.what for url in urls)
    assert f"curl {urls[0]}/models" in caught.value.next_step


def test_servers_that_all_go_end_the_run_after_the_outage_timeout(
    serve: Serve, start: Start
) -> None:
    scripts = [Script(), Script()]
    policy = start(*(serve(script) for script in scripts), outage_timeout_s=0.5, retries=100)
    policy.sample(ASKS[:1])
    for script in scripts:
        script.plan, script.ill = lambda number: Fault("status", 500), True
    begin = time.monotonic()
    with pytest.raises(EngineUnavailable, match="no server answers") as caught:
        policy.sample(ASKS)
    assert 0.5 <= time.monotonic() - begin < 20.0
    assert caught.value.safe


def test_a_whole_outage_is_waited_for(
    serve: Serve, start: Start, undisturbed: list[list[Sample]]
) -> None:
    gone = Script(lambda number: Fault("reset") if gone.ill else None)
    policy = start(serve(gone), outage_timeout_s=60.0)
    policy.sample(ASKS[:1])
    gone.ill = True
    threading.Timer(1.0, setattr, (gone, "ill", False)).start()
    assert policy.sample(ASKS) == undisturbed
    assert policy.fleet.failures.total() > 0


def test_a_request_that_always_fails_is_to_blame_if_others_do_not(
    serve: Serve, start: Start
) -> None:
    script = Script()
    bad = ASKS[3].prompt
    script.plan = lambda number: (
        Fault("status", 500) if script.seen[number]["prompt"] == bad else None
    )
    with pytest.raises(UserError, match=r"'prompt 3', failed 3 times.*HTTP 500") as caught:
        start(serve(script), retries=2, concurrency=3).sample(ASKS)
    assert not isinstance(caught.value, EngineUnavailable)


@pytest.mark.parametrize("status", [500, 429])
def test_servers_that_fail_everything_are_to_blame(status: int, serve: Serve, start: Start) -> None:
    script = Script(lambda number: Fault("status", status))
    with pytest.raises(EngineUnavailable, match=rf"failed 3 times.*HTTP {status}"):
        start(serve(script), retries=2).sample(ASKS)


def test_what_the_servers_tell_of_themselves(serve: Serve, start: Start) -> None:
    script = Script(first(Fault("status", 500), Fault("reset")), owned_by="vllm")
    policy = start(serve(script), serve(Script()), concurrency=1)
    policy.sample(ASKS)
    told = policy.figures()["servers"]
    assert told["engines"] == ["vllm 9.9"]
    assert told["tried_again"]["HTTP 500"] == 1 and sum(told["tried_again"].values()) == 2
    assert policy.figures()["servers"]["tried_again"] == {}


def test_a_chat_is_asked_through_the_template(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    shutil.copytree(tiny_policy(), folder)
    template = "{% for m in messages %}<{{ m.role }}> {{ m.content }}{% endfor %}<answer> "
    (folder / "chat_template.jinja").write_text(template)
    script = Script(owned_by="vllm")
    config = {"backend": "server", "dtype": "float32", "path": str(folder), "chat": True}
    given = PolicyConfig.model_validate({**config, "server": {"urls": [serve(script)]}})
    policy = ServerPolicy(given)
    policy.sample([SampleRequest("a question", (1,), 9, 20, 1.0, written="first step")])
    policy.close()
    assert script.seen[0]["prompt"] == "<user> a question<answer> first step"
    assert script.seen[0]["add_special_tokens"] is False
    with pytest.raises(UserError, match=r"policy\.chat: the chat template of owner/name is needed"):
        ServerPolicy(given.model_copy(update={"path": "owner/name"}))


@pytest.mark.parametrize("given", ["", KEY])
def test_a_wrong_key_is_named_and_never_shown(
    given: str,
    serve: Serve,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("FLEET_KEY", given)
    monkeypatch.setenv("QSTAR_SERVER_KEY", "the-key-of-somebody-else")
    policy = start(serve(Script(key="right")), api_key_env="FLEET_KEY")
    with pytest.raises(EngineUnavailable, match="FLEET_KEY") as caught:
        policy.sample(ASKS)
    assert "HTTP 401" in caught.value.what and "FLEET_KEY" in caught.value.next_step
    assert KEY not in caplog.text + repr(caught.value.to_dict())
    assert "somebody-else" not in caplog.text + repr(caught.value.to_dict())


def test_the_right_key_opens(serve: Serve, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTAR_SERVER_KEY", KEY)
    assert start(serve(Script(key=KEY))).sample(ASKS[:1])


def test_a_refused_request_is_named_without_the_key(
    serve: Serve, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSTAR_SERVER_KEY", KEY)
    script = Script(first(Fault("status", 400, said=f"too long, and {KEY}")), key=KEY)
    with pytest.raises(UserError, match=r"'prompt 0': .*too long, and \*\*\*") as caught:
        start(serve(script)).sample(ASKS[:1])
    assert not isinstance(caught.value, EngineUnavailable)
    assert "--max-model-len" in caught.value.next_step


def test_a_prompt_that_is_too_long_is_refused_whatever_the_server_does(
    serve: Serve, start: Start
) -> None:
    policy = start(serve(Script(context=21)))
    with pytest.raises(UserError, match=r"2 tokens and 20 new ones exceed .* context of 21"):
        policy.sample(ASKS)
    with pytest.raises(UserError, match="empty"):
        policy.sample([SampleRequest("", (1,), 1, 5, 1.0)])


def test_models_that_are_not_served_are_listed(serve: Serve, start: Start) -> None:
    one, two = Script(), Script(models=("large", "small"))
    with pytest.raises(
        EngineUnavailable, match="does not serve tiny; it serves large, small"
    ) as caught:
        start(serve(one), serve(two)).sample(ASKS)
    assert "policy.server.model=large" in caught.value.next_step
    with pytest.raises(EngineUnavailable, match="serves 2 models: large, small"):
        start(serve(two), model=None).sample(ASKS)
    policy = start(serve(one), model=None)
    assert policy.sample(ASKS[:1]) and policy.fleet.model == "tiny"
    one.models = ("renamed",)
    with pytest.raises(EngineUnavailable, match="does not serve tiny; it serves renamed"):
        policy.sample(ASKS)


def test_a_server_without_completions(serve: Serve, start: Start) -> None:
    script = Script(lambda number: Fault("status", 404))
    with pytest.raises(EngineUnavailable, match="/completions is not there"):
        start(serve(script)).sample(ASKS)


def refusing(prompt: str) -> Script:
    """A server that refuses one prompt."""
    script = Script()
    refused = Fault("status", 400)
    script.plan = lambda number: refused if script.seen[number]["prompt"] == prompt else None
    return script


def test_what_was_answered_before_a_request_failed_is_not_asked_again(
    serve: Serve, start: Start, undisturbed: list[list[Sample]]
) -> None:
    script = refusing("prompt 5")
    policy = start(serve(script), concurrency=1)
    told: list[tuple[int, int]] = []
    with pytest.raises(UserError, match="refuses"):
        policy.sample(ASKS, lambda *counts: told.append(counts))
    assert len(script.seen) == 3 * 5 + 1
    assert policy.sample(ASKS[:5], lambda *counts: told.append(counts)) == undisturbed[:5]
    assert len(script.seen) == 3 * 5 + 1
    drawn = [sample for samples in undisturbed[:5] for sample in samples]
    assert sum(tokens for _, tokens in told) == sum(sample.tokens for sample in drawn)
    assert policy.sample(ASKS[6:]) == undisturbed[6:]
    assert len(script.seen) == 3 * 7 + 1
    policy.sample(ASKS[:5])  # each answer is kept for one more request: a replay is a new one
    assert len(script.seen) == 3 * 12 + 1


def test_what_is_kept_is_let_go_with_the_shard(serve: Serve, start: Start) -> None:
    script = refusing("prompt 1")
    policy = start(serve(script), concurrency=1)
    with pytest.raises(UserError):
        policy.sample(ASKS)
    other = replace(ASKS[0], max_new_tokens=7)
    policy.sample([other])
    assert len(script.seen) == 3 + 1 + 3
    policy.figures()
    policy.sample(ASKS[:1])
    assert len(script.seen) == 3 + 1 + 3 + 3


def test_a_shard_with_a_poison_problem_asks_for_nothing_twice(serve: Serve, start: Start) -> None:
    problems = countdown_problems.generate("train", 16, CountdownRanges(numbers=(3,)), seed=0)
    poison = problems[11]
    script = refusing(poison.prompt)
    policy = start(serve(script), concurrency=1)
    config = RolloutsConfig(samples=3)
    parts, aside = sample_shard(
        problems, lambda some: sample_rollouts(some, policy, config, 0), max_share=0.1, retries=2
    )
    assert [found["problem_id"] for found in aside] == [poison.id]
    assert sum(len(part) for part in parts) == 15 * 3
    asked = Counter((body["prompt"], body["seed"]) for body in script.seen)
    assert max(count for (prompt, _), count in asked.items() if prompt != poison.prompt) == 1
