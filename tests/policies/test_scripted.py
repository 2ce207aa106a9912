from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.mdp import Step
from qstar_core.policies import Policy, Sample, SampleRequest, StepRule
from qstar_core.policies.scripted import ScriptedPolicy
from tests.policies.contract import PolicyContract

TABLE = {
    "q\n": [("go left\n", 3.0), ("stop", 1.0)],
    "q\ngo left\n": [("go right\n", 1.0), ("end here", 1.0)],
    "q\ngo left\ngo right\n": [("end", 1.0)],
}
POLICY: Policy = ScriptedPolicy(TABLE)


class TestContract(PolicyContract):
    reference = False
    independent = True
    token_steps = False
    prompts = ("q\n", "q\ngo left\n")

    @pytest.fixture(scope="class")
    @classmethod
    def policy(cls) -> Policy:
        return POLICY


def ask(
    seeds: tuple[int, ...] = (0,),
    steps: int = 9,
    tokens: int = 99,
    temperature: float = 1.0,
    prompt: str = "q\n",
) -> list[Sample]:
    request = SampleRequest(prompt, seeds, steps, tokens, temperature)
    return POLICY.sample([request])[0]


def test_greedy_takes_the_most_likely_and_the_first_of_equals() -> None:
    [sample] = ask(temperature=0.0)
    assert [step.text for step in sample.steps] == ["go left\n", "go right\n", "end"]
    assert sample.finish == "end" and sample.steps[-1].ended
    assert [step.tokens for step in sample.steps] == [3, 3, 2] and sample.tokens == 8
    assert sample.steps[0].logprob == pytest.approx(math.log(0.75))


def test_steps_and_tokens_are_limited() -> None:
    [sample] = ask(temperature=0.0, steps=2)
    assert sample.finish == "steps" and len(sample.steps) == 2 and not sample.steps[-1].ended
    [sample] = ask(temperature=0.0, tokens=5)
    assert sample.finish == "length" and sample.tokens == 5
    assert sample.steps[1] == Step("go right", 2)
    [sample] = ask(temperature=0.0, tokens=3)
    assert sample == Sample((Step("go left\n", 3, sample.steps[0].logprob),), "length")


def test_temperature_1_follows_the_weights_and_a_low_one_sharpens_them() -> None:
    seeds = tuple(range(2000))
    counts = Counter(s.steps[0].text for s in ask(seeds, steps=1))
    assert counts["go left\n"] / 2000 == pytest.approx(0.75, abs=0.03)
    counts = Counter(s.steps[0].text for s in ask(seeds, steps=1, temperature=0.25))
    assert counts["go left\n"] / 2000 == pytest.approx(81 / 82, abs=0.01)
    assert ask(seeds[:5], temperature=0.001) == ask(seeds[:5], temperature=0.001)


@settings(max_examples=50, deadline=None)
@given(seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5))
def test_a_sample_depends_on_its_seed_alone(seeds: list[int]) -> None:
    alone = [ask((seed,))[0] for seed in seeds]
    assert ask(tuple(seeds)) == alone
    proposals = ask(tuple(seeds), steps=1)
    assert [p.steps[0] for p in proposals] == [s.steps[0] for s in alone]


def test_done_counts_samples_and_tokens() -> None:
    seen: list[tuple[int, int]] = []
    requests = [SampleRequest("q\n", (1, 2), 1, 9, 0.0), SampleRequest("q\n", (3,), 2, 9, 0.0)]
    POLICY.sample(requests, done=lambda samples, tokens: seen.append((samples, tokens)))
    assert seen == [(2, 6), (1, 6)]


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="no steps in the table for the prompt 'other'"):
        ask(prompt="other")
    with pytest.raises(ValueError, match="newlines only"):
        POLICY.sample([SampleRequest("q\n", (0,), 1, 9, 1.0, StepRule(tokens=24))])


def test_the_fingerprint_is_that_of_the_table() -> None:
    assert ScriptedPolicy(dict(reversed(TABLE.items()))).fingerprint == POLICY.fingerprint
    assert ScriptedPolicy({**TABLE, "q\n": [("stop", 1.0)]}).fingerprint != POLICY.fingerprint
