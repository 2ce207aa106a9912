"""What every policy has to do, whatever engine is behind it: one suite, a subclass per engine.

A subclass gives the fixture ``policy`` and says what the engine promises. With ``reference`` the
policy must be the embedded checkpoint ``reference:countdown-policy``; its greedy text and its
log-probabilities are then compared with those of the transformers policy in float64.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from functools import lru_cache

import pytest
import torch

from qstar_core.config import CountdownRanges
from qstar_core.domains import countdown_problems
from qstar_core.errors import UserError
from qstar_core.keys import sample_seed
from qstar_core.policies import Policy, Sample, SampleRequest, StepRule
from qstar_core.policies.checkpoint import resolve_checkpoint
from qstar_core.policies.transformers import TransformersPolicy

FOLDER = resolve_checkpoint("reference:countdown-policy", "policy.path")
COUNTDOWN = [
    p.prompt for p in countdown_problems.generate("test", 24, CountdownRanges(numbers=(4,)), seed=0)
]
SIGMAS = 4.5  # a frequency that is right lies within them but for one run in 100,000


@lru_cache(maxsize=1)
def exact() -> TransformersPolicy:
    """The reference policy in float64."""
    return TransformersPolicy(FOLDER, "float64", "cpu", 64)


def logprob(prompt: str, sample: Sample) -> float:
    """Of a whole sample, computed by one pass over its text."""
    engine = exact()
    eos = [next(iter(engine.vocabulary.eos))] if sample.finish == "end" else []
    tokenizer = engine.vocabulary.tokenizer
    start = tokenizer(prompt)["input_ids"]
    ids = tokenizer(prompt + "".join(s.text for s in sample.steps))["input_ids"] + eos
    with torch.no_grad():
        rows = torch.log_softmax(engine.model(torch.tensor([ids])).logits[0].double(), -1)
    return sum(float(rows[t - 1, ids[t]]) for t in range(len(start), len(ids)))


def texts(samples: list[Sample]) -> list[list[str]]:
    return [[step.text for step in sample.steps] for sample in samples]


class PolicyContract:
    """The suite; a subclass whose name begins with ``Test`` is collected."""

    reference = True
    """Whether the policy is the reference checkpoint; else ``prompts`` are its own."""
    prompts = COUNTDOWN
    independent = False
    """Whether it promises the same sample for the same seed in any batch."""
    least_equal = 0.95
    """Share of samples that must be equal in another batch where that is not promised."""
    tolerance = 1e-3
    """Of the log-probability of a step, nats."""
    too_long = "context of 128"
    """Said of a prompt that does not fit."""
    token_steps = True
    """Whether steps of a fixed number of tokens are supported."""

    @pytest.fixture(scope="class")
    @classmethod
    def policy(cls) -> Policy:
        raise NotImplementedError

    def asks(
        self,
        n: int = 4,
        steps: int = 3,
        new: int = 60,
        temperature: float = 1.0,
        rule: StepRule = StepRule(),  # noqa: B008
    ) -> list[SampleRequest]:
        return [
            SampleRequest(
                p, tuple(sample_seed(7, p, k) for k in range(n)), steps, new, temperature, rule
            )
            for p in self.prompts
        ]

    def alike(self, some: list[list[str]], others: list[list[str]]) -> None:
        """Equal, or as nearly as the engine promises."""
        assert len(some) == len(others)
        equal = sum(a == b for a, b in zip(some, others, strict=True)) / len(some)
        assert equal >= (1.0 if self.independent else self.least_equal)

    def test_greedy_text_is_that_of_the_reference(self, policy: Policy) -> None:
        if not self.reference:
            pytest.skip("another model")
        requests = self.asks(n=1, temperature=0.0)
        for [a], [b] in zip(policy.sample(requests), exact().sample(requests), strict=True):
            assert a.finish == b.finish
            assert [(s.text, s.tokens, s.ended) for s in a.steps] == [
                (s.text, s.tokens, s.ended) for s in b.steps
            ]
            for s, t in zip(a.steps, b.steps, strict=True):
                assert s.logprob == pytest.approx(t.logprob, abs=self.tolerance)

    def test_logprobs_are_those_of_temperature_one(self, policy: Policy) -> None:
        if not self.reference:
            pytest.skip("another model")
        for temperature in (0.7, 1.3):
            requests = self.asks(n=1, temperature=temperature)[:6]
            for request, [sample] in zip(requests, policy.sample(requests), strict=True):
                assert sample.surplus == 0
                found = sum(step.logprob for step in sample.steps)
                tolerance = self.tolerance * len(sample.steps)
                assert found == pytest.approx(logprob(request.prompt, sample), abs=tolerance)

    def test_every_request_gets_a_sample_per_seed(self, policy: Policy) -> None:
        requests = [
            SampleRequest(p, tuple(range(k % 5)), 3, 60, 1.0) for k, p in enumerate(self.prompts)
        ]
        assert [len(drawn) for drawn in policy.sample(requests)] == [
            len(request.seeds) for request in requests
        ]
        assert policy.sample([]) == []

    def test_seeds_decide(self, policy: Policy) -> None:
        seeds = (1, 2**62 + 11, 2**63 - 1, 0, 1, 5, 6, 7, 8, 9)
        requests = [SampleRequest(p, seeds, 3, 60, 1.0) for p in self.prompts]
        drawn = [texts(samples) for samples in policy.sample(requests)]
        self.alike([d[0] for d in drawn], [d[4] for d in drawn])
        assert max(len({tuple(t) for t in d}) for d in drawn) > 1
        greedy = policy.sample([SampleRequest(self.prompts[0], seeds, 3, 60, 0.0)])[0]
        assert len({tuple(t) for t in texts(greedy)}) == 1

    def test_the_batch_does_not(self, policy: Policy) -> None:
        requests = self.asks()
        together = [t for drawn in policy.sample(requests) for t in texts(drawn)]
        alone = [t for r in requests[:6] for t in texts(policy.sample([r])[0])]
        self.alike(alone, together[: len(alone)])
        order = list(range(len(requests)))
        random.Random(0).shuffle(order)
        mixed = policy.sample([requests[k] for k in order])
        back = [t for k in range(len(order)) for t in texts(mixed[order.index(k)])]
        self.alike(back, together)

    def test_a_proposal_is_the_first_step_of_a_rollout(self, policy: Policy) -> None:
        rollouts, steps = policy.sample(self.asks()), policy.sample(self.asks(steps=1))
        for samples in steps:
            for sample in samples:
                assert len(sample.steps) == 1 and sample.surplus == 0
                [step] = sample.steps
                assert sample.finish in ("steps", "end")
                assert step.ended == (sample.finish == "end")
                assert step.ended or (step.text.endswith("\n") and step.text.count("\n") == 1)
        firsts = [t[:1] for drawn in rollouts for t in texts(drawn)]
        self.alike([t for drawn in steps for t in texts(drawn)], firsts)

    def test_the_steps_so_far_are_gone_on_with(self, policy: Policy) -> None:
        requests = self.asks(n=1, temperature=0.0)
        for request, [whole] in zip(requests, policy.sample(requests), strict=True):
            if len(whole.steps) < 2:
                continue
            written = whole.steps[0].text
            rest = SampleRequest(request.prompt, (1,), 2, 40, 0.0, written=written)
            joined = SampleRequest(request.prompt + written, (1,), 2, 40, 0.0)
            [[a], [b]] = policy.sample([rest, joined])
            assert texts([a]) == texts([b]) == [[s.text for s in whole.steps[1:]]]
            return
        raise AssertionError("no prompt has an answer of two steps")

    @pytest.mark.parametrize(("steps", "new"), [(2, 60), (3, 15), (1, 4), (9, 60)])
    def test_limits(self, policy: Policy, steps: int, new: int) -> None:
        finishes = Counter[str]()
        for drawn in policy.sample(self.asks(steps=steps, new=new)):
            for sample in drawn:
                finishes[sample.finish] += 1
                assert sample.tokens <= new and len(sample.steps) <= steps
                assert sample.tokens == sum(s.tokens for s in sample.steps) + sample.surplus
                assert not any(step.ended for step in sample.steps[:-1])
                assert sample.steps[-1].ended == (sample.finish == "end")
                assert (sample.finish == "steps") <= (len(sample.steps) == steps)
                for step in sample.steps[:-1]:
                    assert step.text.endswith("\n")
        assert set(finishes) <= {"end", "steps", "length"}
        if new < 10 and self.reference:
            assert set(finishes) == {"length"}
        if steps == 9:
            assert finishes["end"] > 0.9 * finishes.total()

    @pytest.mark.parametrize("each", [1, 3, 5])
    def test_steps_of_a_number_of_tokens(self, policy: Policy, each: int) -> None:
        if not self.token_steps:
            pytest.skip("steps end at newlines only")
        rule = StepRule(newline=False, tokens=each)
        whole = policy.sample(self.asks(n=1, steps=99))
        for [cut], [sample] in zip(
            policy.sample(self.asks(n=1, steps=4, rule=rule)), whole, strict=True
        ):
            assert all(s.tokens == each or s.ended for s in cut.steps) and len(cut.steps) <= 4
            assert cut.surplus == 0
            joined = "".join(step.text for step in cut.steps)
            if self.independent:
                assert "".join(step.text for step in sample.steps).startswith(joined)

    def test_frequencies_follow_the_model(self, policy: Policy) -> None:
        n = 3000
        rule = StepRule(tokens=1) if self.token_steps else StepRule()
        request = SampleRequest(self.prompts[0], tuple(range(n)), 1, 40, 1.0, rule)
        steps = [sample.steps[0] for sample in policy.sample([request])[0]]
        counts = Counter(step.text for step in steps)
        likely = {step.text: math.exp(step.logprob) for step in steps}
        assert len(counts) > 1
        for text, p in likely.items():
            error = math.sqrt(p * (1 - p) / n)
            assert abs(counts[text] / n - p) <= SIGMAS * error + 1 / n, text

    def test_progress_counts_samples_and_tokens(self, policy: Policy) -> None:
        seen: list[tuple[int, int]] = []
        answers = policy.sample(self.asks(), lambda n, tokens: seen.append((n, tokens)))
        assert sum(n for n, _ in seen) == 4 * len(self.prompts)
        assert sum(t for _, t in seen) == sum(s.tokens for a in answers for s in a)

    def test_prompts_that_are_empty_or_too_long_are_refused(self, policy: Policy) -> None:
        if not self.reference:
            pytest.skip("it knows only the prompts of its table")
        good = SampleRequest(self.prompts[0], (1,), 1, 5, 1.0)
        with pytest.raises(UserError, match="prompt is empty"):
            policy.sample([good, SampleRequest("", (1,), 1, 5, 1.0)])
        with pytest.raises(UserError, match=self.too_long) as refused:
            policy.sample([good, SampleRequest("7 " * 200 + "> 24\n", (1,), 1, 5, 1.0)])
        assert refused.value.next_step
        assert policy.sample([good])[0][0].steps  # and goes on working

    def test_it_says_what_it_promises(self, policy: Policy) -> None:
        assert policy.batch_independent == self.independent
        assert len(policy.fingerprint) == 24
